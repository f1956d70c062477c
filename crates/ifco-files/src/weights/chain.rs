//! The order of the modules: the one told, or the file's if each takes what the one before gives.

use super::module::{Kind, Module};
use super::spec::{Spec, Take};

/// What goes from one module to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Data {
    /// `(batch, time)` of whole numbers.
    Indices,
    /// `(batch, time, features)`.
    Sequence(usize),
    /// `(batch, features)`.
    Vector(usize),
}

impl Data {
    fn describe(self) -> String {
        match self {
            Data::Indices => "indices".into(),
            Data::Sequence(features) => format!("a sequence of {features} features"),
            Data::Vector(features) => format!("{features} features without time"),
        }
    }
}

/// How many steps a search for an order may take.
const SEARCH: usize = 20_000;

/// What the first of `modules` takes.
pub(super) fn input(first: &Module<'_>, modules: &[Module<'_>], spec: &Spec) -> Data {
    // Of a convolution in groups, the weights tell the channels of one.
    let groups = spec.module(&first.name).groups.unwrap_or(1);
    let features = features(first).saturating_mul(groups);
    let has_time = |module: &Module<'_>| matches!(module.kind, Kind::Recurrent(_) | Kind::Conv1d);
    match first.kind {
        Kind::Embedding => Data::Indices,
        _ if modules.iter().any(has_time) => Data::Sequence(features),
        _ => Data::Vector(features),
    }
}

/// How many features a module takes.
fn features(module: &Module<'_>) -> usize {
    let size = |axis: usize| {
        let array = module.array("weight").or(module.array("running_mean"));
        array.and_then(|array| array.shape().get(axis).copied())
    };
    match (&module.recurrent, module.kind) {
        (Some(recurrent), _) => recurrent.features(),
        (None, Kind::Linear | Kind::Conv1d) => size(1).unwrap_or(0),
        (None, _) => size(0).unwrap_or(0),
    }
}

/// How many groups a convolution has, whose input has so many channels.
pub(super) fn groups(module: &Module<'_>, channels: usize) -> usize {
    channels.checked_div(features(module)).unwrap_or(1).max(1)
}

/// What the module gives when it is given `data`; the reason if it does not take it.
pub(super) fn follow(module: &Module<'_>, data: Data, take: Option<Take>) -> Result<Data, String> {
    let takes = features(module);
    let refuse = |expected: String| {
        Err(format!(
            "{:?} ({}) takes {expected}, and is given {}",
            module.name,
            module.kind.name(),
            data.describe()
        ))
    };
    let whole = match (&module.recurrent, module.kind, data) {
        (None, Kind::Embedding, Data::Indices) => {
            let width = module
                .array("weight")
                .and_then(|w| w.shape().get(1).copied());
            Data::Sequence(width.unwrap_or(0))
        }
        (_, _, Data::Indices) => return refuse(format!("{takes} features")),
        (None, Kind::Embedding, _) => return refuse("indices: it must be the first".into()),
        (Some(recurrent), _, Data::Sequence(given)) if given == takes => {
            Data::Sequence(recurrent.outputs())
        }
        (Some(_), _, _) => return refuse(format!("a sequence of {takes} features")),
        (None, Kind::Conv1d, Data::Sequence(given)) => {
            let filters = module.array("weight").map_or(0, |w| w.shape()[0]);
            let groups = groups(module, given);
            if given == 0
                || takes.checked_mul(groups) != Some(given)
                || !filters.is_multiple_of(groups)
            {
                return refuse(format!("a sequence of {takes} channels"));
            }
            Data::Sequence(filters)
        }
        (None, Kind::Conv1d, _) => return refuse(format!("a sequence of {takes} channels")),
        (None, kind, Data::Sequence(given) | Data::Vector(given)) => {
            if given != takes {
                return refuse(format!("{takes} features"));
            }
            let gives = match kind {
                Kind::Linear => module.array("weight").map_or(0, |w| w.shape()[0]),
                _ => given,
            };
            match data {
                Data::Vector(_) => Data::Vector(gives),
                _ => Data::Sequence(gives),
            }
        }
    };
    match (take, whole) {
        (None | Some(Take::All), whole) => Ok(whole),
        (Some(Take::Hidden), _) if module.recurrent.is_none() => Err(format!(
            "{:?} has no hidden state to take: take = \"hidden\" goes with an LSTM, GRU or RNN",
            module.name
        )),
        (Some(_), Data::Sequence(features)) => Ok(Data::Vector(features)),
        (Some(_), _) => Err(format!(
            "{:?} gives no sequence of which take could choose",
            module.name
        )),
    }
}

/// Whether the modules take what they are given in this order; the first reason if not.
pub(super) fn check(modules: &[Module<'_>], order: &[usize], spec: &Spec) -> Result<(), String> {
    let Some(first) = order.first() else {
        return Ok(());
    };
    let mut data = input(&modules[*first], modules, spec);
    for &number in order {
        let module = &modules[number];
        data = follow(module, data, spec.module(&module.name).take)?;
    }
    Ok(())
}

/// The orders in which all modules fit, at most two; names that are counted keep their order.
pub(super) fn fitting(modules: &[Module<'_>], spec: &Spec) -> Vec<Vec<usize>> {
    let mut search = Search {
        modules,
        spec,
        found: Vec::new(),
        steps: SEARCH,
    };
    for (first, module) in modules.iter().enumerate() {
        if (0..modules.len()).all(|other| !is_before(modules, other, first)) {
            let data = input(module, modules, spec);
            search.go(&mut vec![first], data);
        }
    }
    search.found
}

struct Search<'a, 'm> {
    modules: &'a [Module<'m>],
    spec: &'a Spec,
    found: Vec<Vec<usize>>,
    steps: usize,
}

impl Search<'_, '_> {
    /// Goes on from `chain`, whose last module is given `data`. No deeper than there are modules.
    fn go(&mut self, chain: &mut Vec<usize>, data: Data) {
        let count = self.modules.len();
        if self.found.len() >= 2 || self.steps == 0 || count > 64 {
            return;
        }
        self.steps -= 1;
        let Some(last) = chain.last().map(|last| &self.modules[*last]) else {
            return;
        };
        let Ok(data) = follow(last, data, self.spec.module(&last.name).take) else {
            return;
        };
        if chain.len() == count {
            self.found.push(chain.clone());
            return;
        }
        for next in (0..count)
            .filter(|next| !chain.contains(next))
            .collect::<Vec<_>>()
        {
            let too_early = (0..count)
                .any(|other| !chain.contains(&other) && is_before(self.modules, other, next));
            if !too_early {
                chain.push(next);
                self.go(chain, data);
                chain.pop();
            }
        }
    }
}

/// Whether two names are counted, and the one comes before the other: `lstm1` before `lstm2`,
/// `layers.2.norm` before `layers.10.lstm`, `cell_0/lstm_cell` before `cell_1/lstm_cell`.
fn is_before(modules: &[Module<'_>], one: usize, other: usize) -> bool {
    let (one, other) = (&modules[one].name, &modules[other].name);
    let parts = ['.', '/'];
    let differing = one
        .split(parts)
        .zip(other.split(parts))
        .find(|(a, b)| a != b);
    let Some((a, b)) = differing else {
        return false;
    };
    let split = |part: &str| {
        let stem = part.trim_end_matches(|letter: char| letter.is_ascii_digit());
        let number: Option<u64> = part[stem.len()..].parse().ok();
        (stem.to_owned(), number)
    };
    match (split(a), split(b)) {
        ((a, Some(one)), (b, Some(other))) => a == b && one < other,
        _ => false,
    }
}
