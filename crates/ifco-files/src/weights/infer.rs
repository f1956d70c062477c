//! A model made of weights alone: what names and shapes tell, what a spec says, and what is
//! assumed, which is always said.

use std::path::Path;

use ifco_cell::CellKind;
use ifco_model::{Generation, Model};
use ndarray::{Array, ArrayD, Dimension};
use serde_json::{Value, json};

use super::chain::{self, Data};
use super::module::{Kind, Module};
use super::recurrent::{Direction, Recurrent};
use super::spec::{ModuleSpec, Spec, Take};
use crate::{FileError, WeightsFile, WeightsSource};

/// Makes a model of `file`, and tells what was assumed of it.
pub(crate) fn model(
    file: &WeightsFile,
    spec: &Spec,
    path: &Path,
) -> Result<(Model, Vec<String>), FileError> {
    let mut assumptions = file.notes.clone();
    let modules = modules(file, spec, path, &mut assumptions)?;
    let order = order(&modules, spec, file.source, path, &mut assumptions)?;
    let ordered: Vec<&Module<'_>> = order.iter().map(|number| &modules[*number]).collect();
    let Some(first) = ordered.first() else {
        return Err(needs(path, "there is no module with weights".into(), ""));
    };
    let mut data = chain::input(first, &modules, spec);
    let mut builder = Builder::new(data);
    for module in &ordered {
        let told = spec.module(&module.name);
        let after = chain::follow(module, data, told.take)
            .map_err(|reason| needs(path, reason, "order"))?;
        builder.add(module, &told, data);
        data = after;
    }
    assume(&ordered, spec, file.source, &mut assumptions);
    let model = builder
        .finish(path)
        .map_err(|error| FileError::model(path, error))?;
    Ok((model, assumptions))
}

/// The error for weights that do not make a model by themselves.
fn needs(path: &Path, what: String, key: &str) -> FileError {
    let key = match key {
        "" => String::new(),
        key => format!(", with {key} = …"),
    };
    FileError::Unsupported {
        path: path.into(),
        what: format!("the weights alone do not tell how to compute with them: {what}"),
        remedy: format!(
            "say it in a small TOML (--spec model.toml{key}; docs/formats.md); `ifco show` and \
             `ifco gates` need none"
        ),
    }
}

/// Every group that takes part, as a module.
fn modules<'a>(
    file: &'a WeightsFile,
    spec: &Spec,
    path: &Path,
    assumptions: &mut Vec<String>,
) -> Result<Vec<Module<'a>>, FileError> {
    let mut modules = Vec::new();
    let mut known = Vec::new();
    for group in &file.groups {
        known.push(group.path.clone());
        if spec.unused.contains(&group.path) {
            continue;
        }
        let told = spec.module(&group.path);
        let module = Module::of(group, &told, file.source).map_err(|reason| {
            let name = if group.path.is_empty() {
                "the top"
            } else {
                &group.path
            };
            let what = format!("module {name:?}: {reason}");
            needs(path, what, "kind = … or unused")
        })?;
        if let Some(guess) = &module.guess {
            assumptions.push(format!("{:?} {guess}", module.name));
        }
        if module.name != group.path {
            known.push(module.name.clone());
        }
        modules.push(module);
    }
    let told = spec
        .order
        .iter()
        .flatten()
        .chain(&spec.unused)
        .chain(spec.modules.keys());
    for name in told {
        if !known.contains(name) {
            return Err(FileError::Unsupported {
                path: path.into(),
                what: format!("the spec speaks of module {name:?}, which is not in the file"),
                remedy: format!("the file has: {}", known.join(", ")),
            });
        }
    }
    Ok(modules)
}

/// The order in which the data goes through the modules.
fn order(
    modules: &[Module<'_>],
    spec: &Spec,
    source: WeightsSource,
    path: &Path,
    assumptions: &mut Vec<String>,
) -> Result<Vec<usize>, FileError> {
    let names = |order: &[usize]| {
        let names: Vec<&str> = order.iter().map(|n| modules[*n].name.as_str()).collect();
        names.join(" → ")
    };
    if let Some(told) = &spec.order {
        let order: Vec<usize> = told
            .iter()
            .filter_map(|name| modules.iter().position(|module| module.name == *name))
            .collect();
        if let Some(left) = (0..modules.len()).find(|number| !order.contains(number)) {
            let what = format!("order leaves out {:?}", modules[left].name);
            return Err(needs(path, what, "unused"));
        }
        let mut once = order.clone();
        once.sort_unstable();
        once.dedup();
        if once.len() < order.len() {
            return Err(needs(path, "order has a module twice".into(), "order"));
        }
        chain::check(modules, &order, spec).map_err(|reason| needs(path, reason, "order"))?;
        return Ok(order);
    }
    let as_listed: Vec<usize> = (0..modules.len()).collect();
    if source.tells_order() {
        match chain::check(modules, &as_listed, spec) {
            Ok(()) => {
                if modules.len() > 1 {
                    assumptions.push(format!(
                        "the modules run in the order of the file: {}",
                        names(&as_listed)
                    ));
                }
                return Ok(as_listed);
            }
            // Who made it may have sorted the names.
            Err(_) if source != WeightsSource::Torch => {}
            Err(reason) => {
                let what = format!("in the order of the file, {reason}");
                let hint = match chain::fitting(modules, spec).first() {
                    Some(fits) => format!("{what} (they would fit as {})", names(fits)),
                    None => what,
                };
                return Err(needs(path, hint, "order or unused"));
            }
        }
    }
    match chain::fitting(modules, spec).as_slice() {
        [only] => {
            if modules.len() > 1 {
                assumptions.push(format!(
                    "the modules run in the one order in which they fit: {}",
                    names(only)
                ));
            }
            Ok(only.clone())
        }
        [one, other, ..] => {
            let what = format!(
                "{} does not tell the order of its modules, and several fit: {}, or {}",
                match source {
                    WeightsSource::Safetensors => "a .safetensors",
                    _ => "the file",
                },
                names(one),
                names(other)
            );
            Err(needs(path, what, "order"))
        }
        [] => {
            let reason = chain::check(modules, &as_listed, spec);
            let reason = reason.err().unwrap_or_else(|| "there are too many".into());
            let what = format!("no order was found in which the modules fit; as listed, {reason}");
            Err(needs(path, what, "order or unused"))
        }
    }
}

/// Says what weights cannot tell and nobody told.
fn assume(
    modules: &[&Module<'_>],
    spec: &Spec,
    source: WeightsSource,
    assumptions: &mut Vec<String>,
) {
    let mut say = |names: Vec<&str>, what: &str| {
        if !names.is_empty() {
            assumptions.push(format!("{}: {what}", names.join(", ")));
        }
    };
    let of = |wanted: &dyn Fn(&Module<'_>, &ModuleSpec) -> bool| -> Vec<&str> {
        modules
            .iter()
            .filter(|module| wanted(module, &spec.module(&module.name)))
            .map(|module| module.name.as_str())
            .collect()
    };
    let is_cell = |module: &Module<'_>| module.recurrent.as_ref().is_some_and(|r| r.is_cell);
    say(
        of(&|module, told| module.recurrent.is_some() && told.take.is_none()),
        "every step of the output goes on, not the last alone (take = \"last\", \"hidden\", …)",
    );
    say(
        of(&|module, _| is_cell(module)),
        "the cell runs over the whole sequence, from states of zero",
    );
    say(
        of(&|module, told| {
            let fixed = module.recurrent.as_ref().and_then(|r| r.activation);
            module.kind == Kind::Recurrent(CellKind::SimpleRnn)
                && told.nonlinearity.is_none()
                && fixed.is_none()
        }),
        "tanh (nonlinearity = \"relu\")",
    );
    let assumed_eps = |module: &Module<'_>, told: &ModuleSpec| {
        let is_norm = matches!(module.kind, Kind::LayerNorm | Kind::BatchNorm1d);
        (is_norm && told.eps.is_none()).then_some(module.eps)
    };
    let mut all_eps: Vec<f64> = Vec::new();
    for module in modules {
        let eps = assumed_eps(module, &spec.module(&module.name));
        all_eps.extend(eps.filter(|eps| !all_eps.contains(eps)));
    }
    for eps in all_eps {
        say(
            of(&|module, told| assumed_eps(module, told) == Some(eps)),
            &format!("eps {eps:e} (eps = …)"),
        );
    }
    say(
        of(&|module, told| {
            let unsaid = told.stride.is_none() || told.padding.is_none() || told.dilation.is_none();
            module.kind == Kind::Conv1d && unsaid
        }),
        "over time, with stride 1, padding 0, dilation 1, one group, unless told (stride = …, …)",
    );
    say(
        of(&|module, told| {
            matches!(module.kind, Kind::Linear | Kind::Conv1d) && told.activation.is_none()
        }),
        "no activation after it (activation = \"relu\", …; \"none\" to say so)",
    );
    let has_sequence = modules
        .iter()
        .any(|module| matches!(module.kind, Kind::Recurrent(_) | Kind::Conv1d));
    if has_sequence {
        let first = "the input has the batch first: (batch, time, …)";
        assumptions.push(match source {
            WeightsSource::Torch | WeightsSource::Safetensors => {
                format!("{first}, whatever batch_first was")
            }
            _ => first.into(),
        });
    }
}

/// A functional model of Keras, layer after layer.
struct Builder {
    layers: Vec<Value>,
    weights: Vec<(String, Vec<ArrayD<f32>>)>,
    last: String,
}

impl Builder {
    fn new(input: Data) -> Self {
        let shape = match input {
            Data::Indices => json!([null, null]),
            Data::Sequence(features) => json!([null, null, features]),
            Data::Vector(features) => json!([null, features]),
        };
        let name = "input";
        Self {
            layers: vec![json!({
                "module": "keras.layers", "class_name": "InputLayer", "name": name,
                "config": {"name": name, "batch_shape": shape}, "inbound_nodes": [],
            })],
            weights: Vec::new(),
            last: name.into(),
        }
    }

    fn push(
        &mut self,
        module: &str,
        class: &str,
        name: &str,
        mut config: Value,
        more: Option<Value>,
    ) {
        // Two modules may have names that become the same.
        let mut free = name.to_owned();
        while self
            .layers
            .iter()
            .any(|layer| layer["name"] == free.as_str())
        {
            free.push('_');
        }
        config["name"] = json!(free);
        let tensor = json!({
            "class_name": "__keras_tensor__",
            "config": {"shape": [], "dtype": "float32", "keras_history": [self.last, 0, 0]},
        });
        let mut args = vec![tensor];
        args.extend(more);
        self.layers.push(json!({
            "module": module, "class_name": class, "name": free, "config": config,
            "inbound_nodes": [{"args": args, "kwargs": {}}],
        }));
        self.last = free;
    }

    fn layer(&mut self, class: &str, name: &str, config: Value, weights: Vec<ArrayD<f32>>) {
        self.push("keras.layers", class, name, config, None);
        if !weights.is_empty() {
            self.weights.push((self.last.clone(), weights));
        }
    }

    fn operation(&mut self, class: &str, name: &str, config: Value, more: Option<Value>) {
        self.push("keras.src.ops.numpy", class, name, config, more);
    }

    /// Appends what the module computes on `data`.
    fn add(&mut self, module: &Module<'_>, told: &ModuleSpec, data: Data) {
        let name = module.name.as_str();
        let weight = module.array("weight");
        let bias = module.array("bias");
        match (&module.recurrent, module.kind) {
            (Some(recurrent), _) => self.recurrent(recurrent, name, told),
            (None, Kind::Embedding) => {
                let shape = weight.map_or(&[0, 0][..], ArrayD::shape);
                let config = json!({"input_dim": shape[0], "output_dim": shape[1]});
                self.layer(
                    "Embedding",
                    name,
                    config,
                    weight.cloned().into_iter().collect(),
                );
            }
            (None, Kind::Linear | Kind::Recurrent(_)) => {
                let units = weight.map_or(0, |weight| weight.shape()[0]);
                let config = json!({"units": units, "use_bias": bias.is_some()});
                let kernel = weight.map(|weight| dynamic(weight.t().to_owned()));
                let weights = kernel.into_iter().chain(bias.cloned()).collect();
                self.layer("Dense", name, config, weights);
            }
            (None, kind @ (Kind::LayerNorm | Kind::BatchNorm1d)) => {
                let config = json!({
                    "axis": -1, "epsilon": told.eps.unwrap_or(module.eps),
                    "scale": weight.is_some(), "center": bias.is_some(),
                });
                let affine = weight.into_iter().chain(bias);
                let (class, moments) = match kind {
                    Kind::LayerNorm => ("LayerNormalization", [None, None]),
                    _ => (
                        "BatchNormalization",
                        [module.array("running_mean"), module.array("running_var")],
                    ),
                };
                let moments = moments.into_iter().flatten();
                let weights = affine.chain(moments).cloned().collect();
                self.layer(class, name, config, weights);
            }
            (None, Kind::Conv1d) => {
                let shape = weight.map_or(&[1, 1, 1][..], ArrayD::shape);
                let channels = match data {
                    Data::Sequence(channels) => channels,
                    _ => shape[1],
                };
                if let Some(padding) = told.padding.filter(|padding| *padding > 0) {
                    let config = json!({"padding": padding});
                    self.layer(
                        "ZeroPadding1D",
                        &format!("{name}/padding"),
                        config,
                        Vec::new(),
                    );
                }
                let config = json!({
                    "filters": shape[0], "kernel_size": shape[2], "padding": "valid",
                    "strides": told.stride.unwrap_or(1),
                    "dilation_rate": told.dilation.unwrap_or(1),
                    "groups": chain::groups(module, channels), "use_bias": bias.is_some(),
                });
                // (filters, channels, positions) becomes (positions, channels, filters).
                let kernel = weight.map(|weight| dynamic(weight.t().to_owned()));
                let weights = kernel.into_iter().chain(bias.cloned()).collect();
                self.layer("Conv1D", name, config, weights);
            }
        }
        if module.recurrent.is_none() {
            self.take(name, told.take);
        }
        match told.activation.as_deref() {
            None | Some("linear") => {}
            // Keras's own default is another one.
            Some("leaky_relu") => {
                let config = json!({"negative_slope": 0.01});
                self.layer(
                    "LeakyReLU",
                    &format!("{name}/leaky_relu"),
                    config,
                    Vec::new(),
                );
            }
            Some(activation) => {
                let config = json!({"activation": activation});
                self.layer(
                    "Activation",
                    &format!("{name}/{activation}"),
                    config,
                    Vec::new(),
                );
            }
        }
    }

    fn recurrent(&mut self, recurrent: &Recurrent, name: &str, told: &ModuleSpec) {
        let both = recurrent.is_bidirectional();
        let class = recurrent.kind.name();
        // Keras returns the last state of each direction; where there is one alone, that is the
        // last step too.
        let last_state = match told.take {
            Some(Take::Hidden) => true,
            Some(Take::Last) => !both,
            _ => false,
        };
        for (number, layer) in recurrent.layers.iter().enumerate() {
            let is_last = number + 1 == recurrent.layers.len();
            let layer_name = recurrent.layer_name(name, number);
            let mut config = json!({
                "name": layer_name, "units": layer.forward.units(),
                "use_bias": layer.forward.has_bias(),
                "return_sequences": !(is_last && last_state),
                "activation": told.nonlinearity.as_deref().or(recurrent.activation).unwrap_or("tanh"),
            });
            if recurrent.kind != CellKind::SimpleRnn {
                config["recurrent_activation"] = json!("sigmoid");
            }
            if let Direction::Gru { reset_after, .. } = layer.forward {
                config["reset_after"] = json!(reset_after);
            }
            if layer.forward.is_projected() {
                config["ifco"]["proj_size"] = json!(layer.forward.outputs());
            }
            if layer.forward.has_peepholes() {
                config["ifco"]["peepholes"] = json!(true);
            }
            let mut weights = layer.forward.arrays();
            match &layer.backward {
                None => self.layer(class, &layer_name, config, weights),
                Some(backward) => {
                    weights.extend(backward.arrays());
                    let config = json!({
                        "merge_mode": "concat",
                        "layer": {"module": "keras.layers", "class_name": class, "config": config},
                    });
                    self.layer("Bidirectional", &layer_name, config, weights);
                }
            }
        }
        if !last_state {
            self.take(name, told.take);
        }
    }

    /// Chooses of a sequence what goes on.
    fn take(&mut self, name: &str, take: Option<Take>) {
        match take {
            None | Some(Take::All | Take::Hidden) => {}
            Some(Take::Last) => {
                let all = json!({"class_name": "__slice__",
                                 "config": {"start": null, "stop": null, "step": null}});
                let key = json!([all, -1]);
                self.operation("GetItem", &format!("{name}/last"), json!({}), Some(key));
            }
            Some(Take::Mean) => self.operation(
                "Mean",
                &format!("{name}/mean"),
                json!({"axis": 1, "keepdims": false}),
                None,
            ),
            Some(Take::Max) => self.operation(
                "Max",
                &format!("{name}/max"),
                json!({"axis": 1, "keepdims": false}),
                None,
            ),
        }
    }

    fn finish(self, path: &Path) -> Result<Model, ifco_model::ModelError> {
        let name = path
            .file_stem()
            .map_or("model".into(), |stem| stem.to_string_lossy());
        let json = json!({"module": "keras.src.models.functional", "class_name": "Functional", "config": {
            "name": name, "layers": self.layers,
            "input_layers": ["input", 0, 0], "output_layers": [self.last, 0, 0],
        }});
        let mut model = Model::from_config(&json, Generation::Keras3)?;
        for (layer, weights) in self.weights {
            model.set_layer_weights(&layer, weights)?;
        }
        Ok(model)
    }
}

fn dynamic<D: Dimension>(array: Array<f32, D>) -> ArrayD<f32> {
    array.into_dyn()
}
