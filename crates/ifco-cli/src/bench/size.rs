//! The size of a layer that there need not be: `--layer lstm:1x100x128x128`.

use std::fmt;
use std::str::FromStr;

use ifco::machine::LayerShape;

/// What each kind is called, and how many gates it has.
const KINDS: [(&str, usize); 3] = [("lstm", 4), ("gru", 3), ("simple_rnn", 1)];

/// A kind of layer, and the size of its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerSize {
    pub kind: &'static str,
    pub shape: LayerShape,
}

impl FromStr for LayerSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text).ok_or_else(|| {
            let kinds = KINDS.map(|(kind, _)| kind).join(", ");
            format!(
                "expected a kind ({kinds}) and batch x time x features x units, each at least 1, \
                 such as lstm:1x100x128x128"
            )
        })
    }
}

fn parse(text: &str) -> Option<LayerSize> {
    let (kind, sizes) = text.split_once(':')?;
    let &(kind, gates) = KINDS.iter().find(|(name, _)| *name == kind)?;
    let sizes: Result<Vec<usize>, _> = sizes.split('x').map(str::parse).collect();
    let &[batch, time, features, units] = sizes.ok()?.as_slice() else {
        return None;
    };
    let shape = LayerShape {
        gates,
        features,
        units,
        batch,
        time,
    };
    let is_there = [batch, time, features, units].iter().all(|&size| size > 0);
    is_there.then_some(LayerSize { kind, shape })
}

impl fmt::Display for LayerSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LayerShape {
            features,
            units,
            batch,
            time,
            ..
        } = self.shape;
        write!(f, "{}:{batch}x{time}x{features}x{units}", self.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_and_written() {
        for (text, gates) in [
            ("lstm:1x100x32x128", 4),
            ("gru:32x10x1x2", 3),
            ("simple_rnn:1x1x1x1", 1),
        ] {
            let size: LayerSize = text.parse().unwrap();
            assert_eq!(size.shape.gates, gates);
            assert_eq!(size.to_string(), text);
        }
        let size: LayerSize = "lstm:1x100x32x128".parse().unwrap();
        let shape = size.shape;
        assert_eq!((shape.batch, shape.time), (1, 100));
        assert_eq!((shape.features, shape.units), (32, 128));
    }

    #[test]
    fn what_is_no_size_says_what_would_be() {
        for wrong in [
            "",
            "lstm",
            "lstm:",
            "lstm:1x2x3",
            "lstm:1x2x3x4x5",
            "lstm:1x2x0x4",
            "lstm:1x2x-3x4",
            "lstm:1x2x3x99999999999999999999",
            "1x2x3x4",
            "rnn:1x2x3x4",
        ] {
            let error = wrong.parse::<LayerSize>().unwrap_err();
            assert!(error.contains("lstm:1x100x128x128"), "{wrong:?}: {error}");
        }
    }
}
