//! The update of one parameter, optimizer by optimizer.
//!
//! w is the parameter, g its gradient, lr the learning rate, t the step counted from 1, ε epsilon.
//! The order of operations is Keras's, each rounded to f32; `1 − β` is taken where Keras takes
//! it, in f64 or in f32. Every loop runs over whole slices, which the compiler turns into SIMD.

use std::borrow::Cow;

use super::OptimizerKind;

/// What all parameters of a step share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub learning_rate: f32,
    /// How many updates came before.
    pub updates: i64,
    /// Nadam's Π of momentum rates up to this step.
    pub u_product: f32,
}

impl Step {
    /// t, counted from 1.
    fn t(&self) -> f32 {
        (self.updates + 1) as f32
    }
}

/// Nadam's momentum rate of step t: u(t) = β₁ (1 − ½ · 0.96ᵗ).
pub(super) fn nadam_rate(beta_1: f64, t: i64) -> f32 {
    beta_1 as f32 * (1.0 - 0.5 * 0.96_f32.powf(t as f32))
}

/// Moves `w`, and its slots in the order of [`OptimizerKind::slots`]. Beside the gradient stands
/// what to take for g², where that is something else.
pub(super) fn update(
    kind: &OptimizerKind,
    step: &Step,
    w: &mut [f32],
    (g, squares): (&[f32], Option<&[f32]>),
    slots: &mut [&mut [f32]],
) {
    let lr = step.learning_rate;
    let g2 = || match squares {
        Some(squares) => Cow::Borrowed(squares),
        None => g.iter().map(|g| g * g).collect(),
    };
    match (*kind, slots) {
        // w −= lr g
        (OptimizerKind::Sgd { .. }, []) => {
            for (w, g) in w.iter_mut().zip(g) {
                *w -= g * lr;
            }
        }
        // m = μ m − lr g;  w += m, or with Nesterov w += μ m − lr g
        (OptimizerKind::Sgd { momentum, nesterov }, [m, ..]) => {
            let momentum = momentum as f32;
            for ((w, g), m) in w.iter_mut().zip(g).zip(m.iter_mut()) {
                *m = *m * momentum - g * lr;
                *w += if nesterov { *m * momentum - g * lr } else { *m };
            }
        }
        (
            OptimizerKind::RmsProp {
                rho,
                momentum,
                epsilon,
                centered,
            },
            [v, rest @ ..],
        ) => {
            let (m, average) = match (momentum > 0.0, centered, rest) {
                (true, true, [m, average, ..]) => (Some(m), Some(average)),
                (true, false, [m, ..]) => (Some(m), None),
                (false, true, [average, ..]) => (None, Some(average)),
                _ => (None, None),
            };
            let (m, average) = (m.map(|m| &mut **m), average.map(|a| &mut **a));
            rmsprop([rho, momentum, epsilon], lr, w, (g, &g2()), v, m, average);
        }
        // m += (g − m)(1 − β₁);  v += (g² − v)(1 − β₂);  v̂ = max(v̂, v) with amsgrad
        // w −= lr √(1 − β₂ᵗ) / (1 − β₁ᵗ) · m / (√v + ε)
        (
            OptimizerKind::Adam {
                beta_1,
                beta_2,
                epsilon,
                ..
            }
            | OptimizerKind::AdamW {
                beta_1,
                beta_2,
                epsilon,
                ..
            },
            [m, v, hat @ ..],
        ) => {
            let [power_1, power_2] = powers(beta_1, beta_2, step);
            let (rest_1, rest_2, epsilon) = rests(beta_1, beta_2, epsilon);
            let adam = Adam {
                rest_1,
                rest_2,
                epsilon,
                alpha: lr * (1.0 - power_2).sqrt() / (1.0 - power_1),
            };
            let hat = hat.first_mut().map(|hat| &mut **hat);
            adam.update(w, (g, squares), m, v, hat, ifco_cell::threads());
        }
        // m as Adam's;  u = max(β₂ u, |g|);  w −= lr m / ((1 − β₁ᵗ)(u + ε))
        (
            OptimizerKind::Adamax {
                beta_1,
                beta_2,
                epsilon,
            },
            [m, u, ..],
        ) => {
            let [power_1, _] = powers(beta_1, beta_2, step);
            let (rest_1, _, epsilon) = rests(beta_1, beta_2, epsilon);
            let (beta_2, corrected) = (beta_2 as f32, 1.0 - power_1);
            let parameters = w.iter_mut().zip(g);
            for (((w, g), m), u) in parameters.zip(m.iter_mut()).zip(u.iter_mut()) {
                *m += (g - *m) * rest_1;
                *u = (beta_2 * *u).max(g.abs());
                *w -= lr * *m / (corrected * (*u + epsilon));
            }
        }
        // m, v as Adam's;  U(t) = Π u;  w −= lr m̂ / (√(v / (1 − β₂ᵗ)) + ε)  with
        // m̂ = u(t+1) m / (1 − U(t+1)) + (1 − u(t)) g / (1 − U(t))
        (
            OptimizerKind::Nadam {
                beta_1,
                beta_2,
                epsilon,
            },
            [m, v, ..],
        ) => {
            let [_, power_2] = powers(beta_1, beta_2, step);
            let now = nadam_rate(beta_1, step.updates + 1);
            let next = nadam_rate(beta_1, step.updates + 2);
            let (left, next_left) = (1.0 - step.u_product, 1.0 - step.u_product * next);
            let (corrected, epsilon) = (1.0 - power_2, epsilon as f32);
            moments(1.0 - beta_1 as f32, 1.0 - beta_2 as f32, (g, &g2()), m, v);
            for (((w, g), m), v) in w.iter_mut().zip(g).zip(m.iter()).zip(v.iter()) {
                let momentum = next * m / next_left + (1.0 - now) * g / left;
                *w -= momentum * lr / ((v / corrected).sqrt() + epsilon);
            }
        }
        // a += g²;  w −= lr g / √(a + ε)
        (OptimizerKind::Adagrad { epsilon, .. }, [a, ..]) => {
            let epsilon = epsilon as f32;
            let g2 = g2();
            for (((w, g), g2), a) in w.iter_mut().zip(g).zip(&*g2).zip(a.iter_mut()) {
                *a += g2;
                *w -= lr * g / (*a + epsilon).sqrt();
            }
        }
        // a = ρ a + (1 − ρ) g²;  δ = −√(d + ε) g / √(a + ε);  d = ρ d + (1 − ρ) δ²;  w += lr δ
        (OptimizerKind::Adadelta { rho, epsilon }, [a, d, ..]) => {
            let (keep, rest, epsilon) = (rho as f32, (1.0 - rho) as f32, epsilon as f32);
            let g2 = g2();
            let parameters = w.iter_mut().zip(g.iter().zip(&*g2));
            for (((w, (g, g2)), a), d) in parameters.zip(a.iter_mut()).zip(d.iter_mut()) {
                *a = keep * *a + rest * g2;
                let factor = (*d + epsilon).sqrt() / (*a + epsilon).sqrt();
                let delta = -((*d + epsilon).sqrt() * g / (*a + epsilon).sqrt());
                let delta2 = match squares {
                    Some(_) => factor * factor * g2,
                    None => delta * delta,
                };
                *d = keep * *d + rest * delta2;
                *w += lr * delta;
            }
        }
        // w −= lr sign(β₁ m + (1 − β₁) g);  m = β₂ m + (1 − β₂) g
        (OptimizerKind::Lion { beta_1, beta_2 }, [m, ..]) => {
            let (beta_1, beta_2) = (beta_1 as f32, beta_2 as f32);
            for ((w, g), m) in w.iter_mut().zip(g).zip(m.iter_mut()) {
                let direction = *m * beta_1 + g * (1.0 - beta_1);
                let sign = if direction == 0.0 {
                    0.0
                } else {
                    direction.signum()
                };
                *w -= lr * sign;
                *m = *m * beta_2 + g * (1.0 - beta_2);
            }
        }
        (kind @ OptimizerKind::Ftrl { .. }, [a, l, ..]) => ftrl(&kind, lr, w, (g, &g2()), a, l),
        // r = m / (1 − β₁ᵗ) / (√(v / (1 − β₂ᵗ)) + ε);  w −= |w| / |r| · lr r
        (
            OptimizerKind::Lamb {
                beta_1,
                beta_2,
                epsilon,
            },
            [m, v, ..],
        ) => {
            let [power_1, power_2] = powers(beta_1, beta_2, step);
            let (rest_1, rest_2, epsilon) = rests(beta_1, beta_2, epsilon);
            moments(rest_1, rest_2, (g, &g2()), m, v);
            let (left_1, left_2) = (1.0 - power_1, 1.0 - power_2);
            let update: Vec<f32> = m
                .iter()
                .zip(v.iter())
                .map(|(m, v)| m / left_1 / ((v / left_2).sqrt() + epsilon))
                .collect();
            let (length, moved) = (norm(w), norm(&update));
            let ratio = if length > 0.0 && moved > 0.0 {
                length / moved
            } else {
                1.0
            };
            for (w, r) in w.iter_mut().zip(&update) {
                *w -= ratio * lr * r;
            }
        }
        // The slots are made by the kind itself, so that there are as many as it needs.
        _ => {}
    }
}

/// Adam's numbers of a step.
#[derive(Clone, Copy)]
struct Adam {
    rest_1: f32,
    rest_2: f32,
    epsilon: f32,
    alpha: f32,
}

/// So many values are worth a thread of their own.
const WORTH_A_THREAD: usize = 1 << 16;

impl Adam {
    /// In one go through all of them: they are more than the caches hold. Each value is alone, so
    /// that threads change no number.
    fn update(
        self,
        w: &mut [f32],
        (g, squares): (&[f32], Option<&[f32]>),
        m: &mut [f32],
        v: &mut [f32],
        hat: Option<&mut [f32]>,
        threads: usize,
    ) {
        if threads > 1 && w.len() >= 2 * WORTH_A_THREAD {
            let here = threads / 2;
            let half = w.len() / threads * here;
            let (w, w_rest) = w.split_at_mut(half);
            let (g, g_rest) = g.split_at(half);
            let (squares, squares_rest) = squares.map(|all| all.split_at(half)).unzip();
            let (m, m_rest) = m.split_at_mut(half);
            let (v, v_rest) = v.split_at_mut(half);
            let (hat, hat_rest) = hat.map(|hat| hat.split_at_mut(half)).unzip();
            let rest = threads - here;
            ifco_cell::join(
                || self.update(w, (g, squares), m, v, hat, here),
                || {
                    self.update(
                        w_rest,
                        (g_rest, squares_rest),
                        m_rest,
                        v_rest,
                        hat_rest,
                        rest,
                    )
                },
            );
            return;
        }
        let moved = |w: &mut f32, m: f32, v: f32| {
            *w -= m * self.alpha / (v.sqrt() + self.epsilon);
        };
        if let (None, None) = (squares, &hat) {
            for ((w, g), (m, v)) in w.iter_mut().zip(g).zip(m.iter_mut().zip(v)) {
                *m += (g - *m) * self.rest_1;
                *v += (g * g - *v) * self.rest_2;
                moved(w, *m, *v);
            }
            return;
        }
        let g2 = match squares {
            Some(squares) => Cow::Borrowed(squares),
            None => g.iter().map(|g| g * g).collect(),
        };
        moments(self.rest_1, self.rest_2, (g, &g2), m, v);
        let scale = match hat {
            Some(hat) => {
                let each = hat.iter_mut().zip(v.iter());
                each.for_each(|(hat, v)| *hat = hat.max(*v));
                &*hat
            }
            None => &*v,
        };
        for ((w, m), v) in w.iter_mut().zip(m.iter()).zip(scale) {
            moved(w, *m, *v);
        }
    }
}

/// v = ρ v + (1 − ρ) g²;  d = v, or v − a² with a = ρ a + (1 − ρ) g when centered
/// w −= lr g / √(d + ε), through m = μ m + … where there is momentum
fn rmsprop(
    [rho, momentum, epsilon]: [f64; 3],
    lr: f32,
    w: &mut [f32],
    (g, g2): (&[f32], &[f32]),
    v: &mut [f32],
    m: Option<&mut [f32]>,
    average: Option<&mut [f32]>,
) {
    let (keep, rest) = (rho as f32, (1.0 - rho) as f32);
    let (momentum, epsilon) = (momentum as f32, epsilon as f32);
    for (v, g2) in v.iter_mut().zip(g2) {
        *v = keep * *v + rest * g2;
    }
    let mut steps: Vec<f32> = match average {
        Some(average) => {
            let each = v.iter().zip(g).zip(average);
            each.map(|((v, g), average)| {
                *average = keep * *average + rest * g;
                lr * g / (v - *average * *average + epsilon).sqrt()
            })
            .collect()
        }
        None => {
            let each = v.iter().zip(g);
            each.map(|(v, g)| lr * g / (v + epsilon).sqrt()).collect()
        }
    };
    if let Some(m) = m {
        for (m, step) in m.iter_mut().zip(&mut steps) {
            *m = momentum * *m + *step;
            *step = *m;
        }
    }
    for (w, step) in w.iter_mut().zip(&steps) {
        *w -= step;
    }
}

/// With p = −learning_rate_power and a' = a + g²:
/// l += g + 2 s w − (a'ᵖ − aᵖ) / lr · w;  w = (clip(l, ±l1) − l) / (a'ᵖ / lr + 2 (l2 + β / 2 lr))
fn ftrl(
    kind: &OptimizerKind,
    lr: f32,
    w: &mut [f32],
    (g, g2): (&[f32], &[f32]),
    a: &mut [f32],
    l: &mut [f32],
) {
    let OptimizerKind::Ftrl {
        learning_rate_power,
        l1_regularization_strength,
        l2_regularization_strength,
        l2_shrinkage_regularization_strength,
        beta,
        ..
    } = *kind
    else {
        return;
    };
    let power = -learning_rate_power as f32;
    let l1 = l1_regularization_strength as f32;
    let l2 = l2_regularization_strength as f32 + beta as f32 / (2.0 * lr);
    let shrinkage = (2.0 * l2_shrinkage_regularization_strength) as f32;
    let gradients = g.iter().zip(g2);
    for (((w, (g, g2)), a), l) in w
        .iter_mut()
        .zip(gradients)
        .zip(a.iter_mut())
        .zip(l.iter_mut())
    {
        let after = *a + g2;
        let shrunk = g + shrinkage * *w;
        *l += shrunk - (after.powf(power) - a.powf(power)) / lr * *w;
        let quadratic = after.powf(power) / lr + 2.0 * l2;
        *w = (l.clamp(-l1, l1) - *l) / quadratic;
        *a = after;
    }
}

fn powers(beta_1: f64, beta_2: f64, step: &Step) -> [f32; 2] {
    [beta_1, beta_2].map(|beta| (beta as f32).powf(step.t()))
}

/// 1 − β₁ and 1 − β₂ as Python takes them, and ε.
fn rests(beta_1: f64, beta_2: f64, epsilon: f64) -> (f32, f32, f32) {
    ((1.0 - beta_1) as f32, (1.0 - beta_2) as f32, epsilon as f32)
}

fn moments(rest_1: f32, rest_2: f32, (g, g2): (&[f32], &[f32]), m: &mut [f32], v: &mut [f32]) {
    for (((g, g2), m), v) in g.iter().zip(g2).zip(m).zip(v) {
        *m += (g - *m) * rest_1;
        *v += (g2 - *v) * rest_2;
    }
}

/// The length of a vector, summed in f64.
pub(super) fn norm(x: &[f32]) -> f32 {
    let squares: f64 = x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    (squares as f32).sqrt()
}
