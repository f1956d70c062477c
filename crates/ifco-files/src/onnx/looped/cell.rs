//! The equations of a cell in what becomes of a loop's states, and its weights out of them.

use std::rc::Rc;

use ifco_cell::{
    Activation, Cell, GruCell, GruWeights, LayerNorm, LstmCell, LstmOptions, LstmWeights, Norm,
    NormedSums, SimpleRnnCell, SimpleRnnWeights,
};
use ndarray::{ArcArray1, Array1, Array2, ArrayView2, Axis, concatenate, stack};

use super::step::Step;
use super::values::{Id, Normed, Sum, Term, Value, activation, clipped, points};

/// The cells of a loop, the first reading a sequence.
pub(super) struct Cells {
    pub sequence: usize,
    pub cells: Vec<Found>,
}

pub(super) struct Found {
    pub cell: Cell,
    /// The numbers of its states, h first.
    pub states: Vec<usize>,
    /// The value that is its output.
    pub shown: Id,
}

/// Finds cells of which each reads what the one before it shows, until all states are of one.
/// `states` says which operand each begins with, and the value that it becomes.
pub(super) fn find(step: &Step<'_>, states: &[(usize, Id)]) -> Option<Cells> {
    let mut sequences = step
        .values
        .iter()
        .enumerate()
        .filter_map(|(id, value)| match value {
            Value::Step(number) => Some((id, *number)),
            _ => None,
        });
    let (mut x, sequence) = sequences.next()?;
    let mut left: Vec<usize> = (0..states.len()).collect();
    let mut cells = Vec::new();
    while !left.is_empty() {
        let limits = step.limits.iter().copied().map(Some);
        let found = std::iter::once(None).chain(limits).find_map(|clip| {
            left.iter().find_map(|h| {
                let reader = Reader {
                    step,
                    states,
                    x,
                    h: *h,
                    clip,
                };
                let mut others = left.iter().filter(|c| *c != h);
                let alone = reader.simple_rnn().or_else(|| reader.gru());
                alone.or_else(|| others.find_map(|c| reader.lstm(*c)))
            })
        })?;
        left.retain(|state| !found.states.contains(state));
        x = found.shown;
        cells.push(found);
    }
    Some(Cells { sequence, cells })
}

/// Reads one cell, whose h is this state.
struct Reader<'s, 'l> {
    step: &'s Step<'l>,
    states: &'s [(usize, Id)],
    x: Id,
    h: usize,
    /// What it keeps within −clip and clip before each gate's activation, if anything.
    clip: Option<f32>,
}

/// `activation(clip(sum))`
struct Gate {
    activation: Activation,
    sum: Rc<Sum>,
}

/// What of a gate's sum belongs to x and to h.
struct Parts<'g> {
    x: &'g Term,
    h: Option<&'g Term>,
}

impl<'s> Reader<'s, '_> {
    fn value(&self, id: Id) -> &'s Value {
        &self.step.values[id]
    }

    fn is_state(&self, id: Id, state: usize) -> bool {
        matches!(self.value(id), Value::State(known) if *known == state)
    }

    /// A value as an activation of another that is kept within a limit.
    fn function(&self, id: Id, limit: Option<f32>) -> Option<(Id, Activation)> {
        match self.value(id) {
            Value::Function { of, at_points } => Some((*of, activation(at_points, limit)?)),
            Value::OfRow { of, activation } => {
                let (of, known) = self.clipped(*of)?;
                (known == limit).then_some((of, *activation))
            }
            _ if limit.is_none() => Some((id, Activation::Linear)),
            _ => None,
        }
    }

    /// A value and what it is kept within, if anything.
    fn clipped(&self, id: Id) -> Option<(Id, Option<f32>)> {
        let Value::Function { of, at_points } = self.value(id) else {
            return Some((id, None));
        };
        let points = points();
        let is_limit = |limit: &f32| {
            let both = points.iter().zip(at_points.iter());
            both.into_iter()
                .all(|(x, y)| clipped(*x, Some(*limit)) == *y)
        };
        let limit = self.step.limits.iter().copied().find(is_limit)?;
        Some((*of, Some(limit)))
    }

    fn gate(&self, id: Id) -> Option<Gate> {
        let (of, activation) = self.function(id, self.clip)?;
        let Value::Sum(sum) = self.value(of) else {
            return None;
        };
        Some(Gate {
            activation,
            sum: sum.clone(),
        })
    }

    /// Whether a value is 1 − the other one.
    fn is_rest(&self, id: Id, of: Id) -> bool {
        match (self.value(id), self.value(of)) {
            (
                Value::Function {
                    of: base,
                    at_points: rest,
                },
                Value::Function {
                    of: other,
                    at_points,
                },
            ) => {
                let both = rest.iter().zip(at_points.iter());
                base == other && both.into_iter().all(|(rest, y)| *rest == 1.0 - y)
            }
            _ => false,
        }
    }

    /// The sum's two products, if it has no others.
    fn parts<'g>(&self, sum: &'g Sum) -> Option<Parts<'g>> {
        let of_x = |term: &&Term| term.source == self.x;
        let of_h = |term: &&Term| self.is_state(term.source, self.h);
        let parts = Parts {
            x: sum.terms.iter().find(of_x)?,
            h: sum.terms.iter().find(of_h),
        };
        (sum.terms.len() == 1 + usize::from(parts.h.is_some())).then_some(parts)
    }

    fn simple_rnn(&self) -> Option<Found> {
        let (_, shown) = self.states[self.h];
        let gate = self.gate(shown)?;
        let sum = &*gate.sum;
        is_plain(sum).then_some(())?;
        let parts = self.parts(sum)?;
        let weights = SimpleRnnWeights::new(
            parts.x.matrix().to_owned(),
            parts.h?.matrix().to_owned(),
            bias(&[&whole_bias(sum)])?,
        );
        let cell = SimpleRnnCell::new(weights.ok()?, gate.activation).with_clip(self.clip);
        Some(Found {
            cell: cell.ok()?.into(),
            states: vec![self.h],
            shown,
        })
    }

    fn gru(&self) -> Option<Found> {
        let (_, shown) = self.states[self.h];
        let Value::Plus(one, other) = self.value(shown) else {
            return None;
        };
        // z∘h + (1 − z)∘h̃, whichever comes first.
        [(one, other), (other, one)]
            .into_iter()
            .find_map(|(kept, new)| {
                let z = self.other_factor(*kept, |id| self.is_state(id, self.h))?;
                let candidate = self.other_factor(*new, |id| self.is_rest(id, z))?;
                self.gru_of(z, candidate, shown)
            })
    }

    fn gru_of(&self, z: Id, candidate: Id, shown: Id) -> Option<Found> {
        let (update, candidate) = (self.gate(z)?, self.gate(candidate)?);
        let sum = &*candidate.sum;
        // r∘(h·U + b'), or (r∘h)·U.
        let (r, of_h, reset_after) = match sum.gated.as_slice() {
            [(r, inner)] => {
                let [term] = inner.terms.as_slice() else {
                    return None;
                };
                let is_own = is_plain(inner) && inner.biases.is_empty();
                let fits = is_own && self.is_state(term.source, self.h);
                (*r, fits.then_some(term)?, true)
            }
            [] => {
                let term = sum.terms.iter().find(|term| term.source != self.x)?;
                let r = self.other_factor(term.source, |id| self.is_state(id, self.h))?;
                (r, term, false)
            }
            _ => return None,
        };
        let of_x = sum.terms.iter().find(|term| term.source == self.x)?;
        let reset = self.gate(r)?;
        let are_plain = [&update.sum, &reset.sum]
            .into_iter()
            .all(|sum| is_plain(sum));
        let is_own = sum.terms.len() == 2 - usize::from(reset_after)
            && sum.scaled.is_empty()
            && sum.normed.is_none();
        let is_alike = update.activation == reset.activation;
        if !are_plain || !is_own || !is_alike {
            return None;
        }
        let (of_z, of_r) = (self.parts(&update.sum)?, self.parts(&reset.sum)?);
        let (h_z, h_r) = (of_z.h?, of_r.h?);
        let kernel = joined(&[of_z.x, of_r.x, of_x])?;
        let recurrent = joined(&[h_z, h_r, of_h])?;
        // What is added to the products of h keeps its own row where r acts on it.
        let rows = |terms: [&Term; 3], sums: [&Sum; 3]| {
            let all = terms.iter().zip(sums).map(|(term, sum)| {
                let own = term.bias.iter();
                own.chain(&sum.biases).collect::<Vec<_>>()
            });
            bias(&all.collect::<Vec<_>>().iter().collect::<Vec<_>>())
        };
        let (none, sums) = (Sum::default(), [&*update.sum, &*reset.sum, sum]);
        let biases = match reset_after {
            true => {
                let input = rows([of_z.x, of_r.x, of_x], sums)?;
                let own = rows([h_z, h_r, of_h], [&none; 3])?;
                let zeros = || Array1::zeros(kernel.ncols());
                match (input, own) {
                    (None, None) => None,
                    (input, own) => {
                        let (input, own) = (input.unwrap_or_else(zeros), own.unwrap_or_else(zeros));
                        Some(stack(Axis(0), &[input.view(), own.view()]).ok()?)
                    }
                }
            }
            false => {
                let all = sums.map(whole_bias);
                bias(&[&all[0], &all[1], &all[2]])?.map(|bias| bias.insert_axis(Axis(0)))
            }
        };
        let weights = GruWeights::new(kernel, recurrent, biases).ok()?;
        let cell = GruCell::new(
            weights,
            candidate.activation,
            update.activation,
            reset_after,
        );
        Some(Found {
            cell: cell.ok()?.with_clip(self.clip).ok()?.into(),
            states: vec![self.h],
            shown,
        })
    }

    /// The other factor of a product, of which one is so.
    fn other_factor(&self, product: Id, is_one: impl Fn(Id) -> bool) -> Option<Id> {
        match self.value(product) {
            Value::Product(p, q) if is_one(*p) => Some(*q),
            Value::Product(p, q) if is_one(*q) => Some(*p),
            _ => None,
        }
    }

    fn lstm(&self, c: usize) -> Option<Found> {
        let ((_, shown), (_, c_new)) = (self.states[self.h], self.states[c]);
        let (whole, cell_clip) = self.clipped(c_new)?;
        let (mut own, mut state_norm) = (whole, None);
        if let Value::Normed { of, norm } = self.value(own) {
            (own, state_norm) = (*of, Some(norm));
        }
        let Value::Plus(one, other) = self.value(own) else {
            return None;
        };
        let is_c = |id: Id| self.is_state(id, c);
        // f∘c + i∘c̃, whichever comes first.
        let (f, new) = match (
            self.other_factor(*one, is_c),
            self.other_factor(*other, is_c),
        ) {
            (Some(f), None) => (f, *other),
            (None, Some(f)) => (f, *one),
            _ => return None,
        };
        let Value::Product(p, q) = *self.value(new) else {
            return None;
        };
        let (mut hidden, projection_clip) = self.clipped(shown)?;
        let mut projection = None;
        if let Value::Sum(sum) = self.value(hidden) {
            let [term] = sum.terms.as_slice() else {
                return None;
            };
            let is_alone = is_plain(sum) && sum.biases.is_empty() && term.bias.is_none();
            (is_alone && term.normed.is_none()).then_some(())?;
            (hidden, projection) = (term.source, Some(term.matrix().to_owned()));
        }
        let Value::Product(first, second) = *self.value(hidden) else {
            return None;
        };
        let shows = |id: Id| {
            let (of, activation) = self.function(id, cell_clip)?;
            (of == whole).then_some(activation)
        };
        let (o, output_activation) = match (shows(first), shows(second)) {
            (Some(activation), None) => (second, activation),
            (None, Some(activation)) => (first, activation),
            _ => return None,
        };
        let frame = Lstm {
            f,
            o,
            c,
            c_new,
            state_norm,
            projection,
            options: LstmOptions {
                cell_clip,
                projection_clip,
                output_activation: Some(output_activation),
                ..LstmOptions::default()
            },
        };
        // Which of the two is the gate, its activation and its peephole tell.
        [(p, q), (q, p)].into_iter().find_map(|(i, candidate)| {
            let cell = self.lstm_of(&frame, i, candidate)?;
            Some(Found {
                cell: cell.into(),
                states: vec![self.h, c],
                shown,
            })
        })
    }

    fn lstm_of(&self, frame: &Lstm<'_>, i: Id, candidate: Id) -> Option<LstmCell> {
        let mut options = frame.options;
        let (input, candidate, output) =
            (self.gate(i)?, self.gate(candidate)?, self.gate(frame.o)?);
        options.input_forget = self.is_rest(frame.f, i);
        let forget = match options.input_forget {
            true => None,
            false => Some(self.gate(frame.f)?),
        };
        let gates = [
            Some(&input),
            forget.as_ref(),
            Some(&candidate),
            Some(&output),
        ];
        options.clip = self.clip;
        let sigma = input.activation;
        for (index, gate) in gates.into_iter().enumerate() {
            let Some(gate) = gate else { continue };
            let is_alike = index == 2 || gate.activation == sigma;
            let seen = if index == 3 {
                frame.c_new
            } else {
                self.c_of(frame)
            };
            let sees = gate
                .sum
                .scaled
                .iter()
                .all(|(id, _)| index != 2 && *id == seen);
            if !is_alike || !sees || gate.sum.scaled.len() > 1 || !gate.sum.gated.is_empty() {
                return None;
            }
        }
        if options.output_activation == Some(candidate.activation) {
            options.output_activation = None;
        }
        // Coupled, the forget gate's own weights do not count: zeros.
        let sums = [
            &input,
            forget.as_ref().unwrap_or(&input),
            &candidate,
            &output,
        ];
        let sums = sums.map(|gate| &*gate.sum);
        let parts = sums.map(|sum| self.parts(sum));
        let [Some(p_i), Some(p_f), Some(p_c), Some(p_o)] = &parts else {
            return None;
        };
        let of_x = [p_i.x, p_f.x, p_c.x, p_o.x];
        let of_h = [p_i.h?, p_f.h?, p_c.h?, p_o.h?];
        let mut kernel = joined(&of_x)?;
        let mut recurrent = joined(&of_h)?;
        let units = of_x[0].matrix().ncols();
        let all = sums.map(whole_bias);
        let mut biases = all.each_ref().map(|all| all.iter().collect::<Vec<_>>());
        options.forget_bias = match &forget {
            None => 0.0,
            Some(gate) => match gate.sum.normed {
                Some(_) => uniform(&gate.sum.behind)?,
                None if biases[1].len() > biases[0].len() => uniform(&[biases[1].pop()?.clone()])?,
                None => 0.0,
            },
        };
        let others = [&input, &candidate, &output];
        others
            .iter()
            .all(|gate| gate.sum.behind.is_empty())
            .then_some(())?;
        let mut bias = bias_of(&biases)?;
        if options.input_forget {
            let columns = ifco_cell::Gate::Forget.columns(units);
            let forget = ndarray::s![.., columns.clone()];
            kernel.slice_mut(forget).fill(0.0);
            recurrent.slice_mut(forget).fill(0.0);
            if let Some(bias) = &mut bias {
                bias.slice_mut(ndarray::s![columns]).fill(0.0);
            }
        }
        let mut weights = match &frame.projection {
            Some(projection) => {
                LstmWeights::projected(kernel, recurrent, bias, projection.clone()).ok()?
            }
            None => LstmWeights::new(kernel, recurrent, bias).ok()?,
        };
        let seen = [Some(&input), forget.as_ref(), Some(&output)].map(|gate| {
            let own = gate.and_then(|gate| gate.sum.scaled.first());
            own.map(|(_, by)| by)
        });
        if seen.iter().any(Option::is_some) {
            let mut peepholes = Array2::zeros((3, units));
            for (mut row, own) in peepholes.rows_mut().into_iter().zip(seen) {
                if let Some(own) = own {
                    row.assign(own);
                }
            }
            weights = weights.with_peepholes(peepholes).ok()?;
        }
        weights = match self.layer_norm(frame, &sums, [&of_x, &of_h])? {
            Some(norm) => weights.with_layer_norm(norm).ok()?,
            None => weights,
        };
        let cell = LstmCell::new(weights, candidate.activation, sigma);
        cell.with_options(options).ok()
    }

    fn c_of(&self, frame: &Lstm<'_>) -> Id {
        let is_c = |value: &Value| matches!(value, Value::State(state) if *state == frame.c);
        self.step.values.iter().position(is_c).unwrap_or(usize::MAX)
    }

    /// What is normalized: nothing, each gate's sum, or both products over the four gates.
    fn layer_norm(
        &self,
        frame: &Lstm<'_>,
        sums: &[&Sum; 4],
        terms: [&[&Term; 4]; 2],
    ) -> Option<Option<LayerNorm>> {
        let whole = |norm: &Normed| Norm {
            gamma: norm.gamma.to_owned(),
            beta: norm.beta.to_owned(),
        };
        let [of_x, of_h] = terms;
        let products = of_x[0].normed.as_ref().zip(of_h[0].normed.as_ref());
        let gates: Option<Vec<&Rc<Normed>>> = sums.iter().map(|sum| sum.normed.as_ref()).collect();
        let some = sums.iter().any(|sum| sum.normed.is_some())
            || of_x.iter().chain(of_h).any(|term| term.normed.is_some());
        let (sums, epsilon) = match (products, gates) {
            (None, None) if !some && frame.state_norm.is_none() => return Some(None),
            (Some((kernel, recurrent)), None) => {
                let fits = |terms: &[&Term; 4]| {
                    let mut all = terms.iter().enumerate();
                    let first = terms[0];
                    all.all(|(index, term)| {
                        term.is_part(first, index, 4) && term.normed == first.normed
                    })
                };
                let alike = kernel.epsilon == recurrent.epsilon;
                (fits(of_x) && fits(of_h) && alike).then_some(())?;
                let sums = NormedSums::Products {
                    kernel: whole(kernel),
                    recurrent: whole(recurrent),
                };
                (sums, kernel.epsilon)
            }
            (None, Some(gates)) => {
                let epsilon = gates[0].epsilon;
                gates
                    .iter()
                    .all(|norm| norm.epsilon == epsilon)
                    .then_some(())?;
                let all = |of: fn(&Normed) -> &ArcArray1<f32>| {
                    let views: Vec<_> = gates.iter().map(|norm| of(norm).view()).collect();
                    concatenate(Axis(0), &views).ok()
                };
                let norm = Norm {
                    gamma: all(|norm| &norm.gamma)?,
                    beta: all(|norm| &norm.beta)?,
                };
                (NormedSums::Gates(norm), epsilon)
            }
            _ => return None,
        };
        let state = frame.state_norm?;
        (state.epsilon == epsilon).then_some(Some(LayerNorm {
            sums,
            state: whole(state),
            epsilon,
        }))
    }
}

/// What of an LSTM is known before its gates are.
struct Lstm<'s> {
    f: Id,
    o: Id,
    c: usize,
    c_new: Id,
    state_norm: Option<&'s Rc<Normed>>,
    projection: Option<Array2<f32>>,
    options: LstmOptions,
}

/// Whether there are products and biases alone.
fn is_plain(sum: &Sum) -> bool {
    let are_plain = sum.terms.iter().all(|term| term.normed.is_none());
    are_plain && sum.scaled.is_empty() && sum.gated.is_empty() && sum.normed.is_none()
}

/// All that is added to the products.
fn whole_bias(sum: &Sum) -> Vec<ArcArray1<f32>> {
    let own = sum.terms.iter().filter_map(|term| term.bias.clone());
    own.chain(sum.biases.iter().cloned()).collect()
}

/// The gates' biases side by side, zeros where a gate has none; `Some(None)` where none has any.
fn bias<V: AsRef<[B]>, B: std::borrow::Borrow<ArcArray1<f32>>>(
    gates: &[&V],
) -> Option<Option<Array1<f32>>> {
    let gates: Vec<Vec<&ArcArray1<f32>>> = gates
        .iter()
        .map(|all| {
            all.as_ref()
                .iter()
                .map(std::borrow::Borrow::borrow)
                .collect()
        })
        .collect();
    bias_of(&gates)
}

fn bias_of(gates: &[Vec<&ArcArray1<f32>>]) -> Option<Option<Array1<f32>>> {
    let Some(units) = gates.iter().flatten().map(|bias| bias.len()).next() else {
        return Some(None);
    };
    let each = gates.iter().map(|all| {
        // A single one keeps its bits.
        let mut all = all.iter();
        let mut sum = all.next().map_or_else(
            || Array1::zeros(units),
            |bias| Array1::from_iter(bias.iter().copied()),
        );
        for more in all {
            (more.len() == sum.len()).then(|| sum += *more)?;
        }
        Some(sum)
    });
    let each = each.collect::<Option<Vec<_>>>()?;
    let views: Vec<_> = each.iter().map(|bias| bias.view()).collect();
    Some(concatenate(Axis(0), &views).ok())
}

/// The gates' columns side by side.
fn joined(terms: &[&Term]) -> Option<Array2<f32>> {
    let views: Vec<ArrayView2<'_, f32>> = terms.iter().map(|term| term.matrix()).collect();
    let same = views.windows(2).all(|pair| pair[0].dim() == pair[1].dim());
    same.then(|| concatenate(Axis(1), &views).ok()).flatten()
}

/// The one number that a vector consists of; 0 without one.
fn uniform(vectors: &[ArcArray1<f32>]) -> Option<f32> {
    match vectors {
        [] => Some(0.0),
        [vector] => {
            let first = *vector.first()?;
            vector.iter().all(|value| *value == first).then_some(first)
        }
        _ => None,
    }
}
