//! Colours that every eye can tell apart, on light and on dark paper.
//!
//! Both maps go in even steps of lightness as the eye sees it (in OKLab), so they say the same to whoever
//! sees no hue, and in print. Their hues lie on the axis from blue to yellow or orange, which the
//! common colour blindnesses leave alone. Zero is near the paper: what stands out is what is
//! large.

use std::fmt;

/// A colour of the screen, sRGB.
///
/// ```
/// use ifco_view::color::Rgb;
/// assert_eq!(Rgb(0, 114, 178).to_string(), "#0072b2");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rgb(pub u8, pub u8, pub u8);

impl fmt::Display for Rgb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:02x}{:02x}{:02x}", self.0, self.1, self.2)
    }
}

impl Rgb {
    /// How light it looks: 0 is black, 1 white (the L of OKLab).
    ///
    /// ```
    /// use ifco_view::color::Rgb;
    /// assert!(Rgb(255, 255, 0).lightness() > Rgb(0, 0, 255).lightness());
    /// ```
    pub fn lightness(self) -> f32 {
        lab(self)[0]
    }
}

/// The paper that a picture is drawn on.
///
/// ```
/// use ifco_view::color::Theme;
/// for theme in [Theme::Light, Theme::Dark] {
///     // Near zero looks like the paper; 1 and -1 are far from it, in two hues.
///     let paper = theme.paper().lightness();
///     assert!((theme.diverging(0.0).lightness() - paper).abs() < 0.1);
///     assert!((theme.diverging(-1.0).lightness() - paper).abs() > 0.4);
///     assert_ne!(theme.diverging(1.0), theme.diverging(-1.0));
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Theme {
    /// Dark ink on white.
    #[default]
    Light,
    /// Light ink on near-black.
    Dark,
}

/// All colours of a theme. What each is for, [`Theme`]'s methods say.
struct Palette {
    paper: Rgb,
    ink: Rgb,
    muted: Rgb,
    grid: Rgb,
    blank: Rgb,
    alarm: Rgb,
    sequential: [Rgb; 5],
    /// From zero on to −1, and to 1.
    below: [Rgb; 3],
    above: [Rgb; 3],
    curves: [Rgb; 6],
}

/// The maps go from near the paper to what is far from it: from near white over teal to navy.
const LIGHT: Palette = Palette {
    paper: Rgb(255, 255, 255),
    ink: Rgb(28, 31, 38),
    muted: Rgb(88, 94, 106),
    grid: Rgb(222, 225, 231),
    blank: Rgb(226, 228, 233),
    alarm: Rgb(204, 0, 120),
    sequential: [
        Rgb(252, 250, 226),
        Rgb(176, 218, 190),
        Rgb(72, 163, 178),
        Rgb(37, 98, 153),
        Rgb(19, 27, 87),
    ],
    below: [Rgb(247, 247, 247), Rgb(113, 170, 212), Rgb(16, 78, 139)],
    above: [Rgb(247, 247, 247), Rgb(236, 162, 92), Rgb(134, 56, 0)],
    curves: [
        Rgb(0, 101, 163),
        Rgb(213, 94, 0),
        Rgb(0, 138, 102),
        Rgb(186, 92, 148),
        Rgb(181, 125, 0),
        Rgb(64, 158, 214),
    ],
};

/// The same for dark paper, where large is light: from near black over blue and teal to yellow.
const DARK: Palette = Palette {
    paper: Rgb(20, 23, 31),
    ink: Rgb(233, 236, 242),
    muted: Rgb(160, 167, 180),
    grid: Rgb(52, 57, 69),
    blank: Rgb(58, 62, 72),
    alarm: Rgb(255, 92, 178),
    sequential: [
        Rgb(27, 31, 42),
        Rgb(32, 62, 122),
        Rgb(28, 121, 154),
        Rgb(110, 186, 158),
        Rgb(250, 240, 168),
    ],
    below: [Rgb(33, 36, 44), Rgb(38, 105, 171), Rgb(134, 205, 255)],
    above: [Rgb(33, 36, 44), Rgb(176, 90, 20), Rgb(255, 206, 128)],
    curves: [
        Rgb(86, 180, 233),
        Rgb(255, 138, 66),
        Rgb(38, 196, 148),
        Rgb(226, 148, 196),
        Rgb(240, 200, 70),
        Rgb(150, 166, 255),
    ],
};

impl Theme {
    fn palette(self) -> &'static Palette {
        match self {
            Theme::Light => &LIGHT,
            Theme::Dark => &DARK,
        }
    }

    /// What is drawn on.
    pub fn paper(self) -> Rgb {
        self.palette().paper
    }

    /// Text and borders.
    pub fn ink(self) -> Rgb {
        self.palette().ink
    }

    /// Text of less weight: numbers at axes, notes.
    pub fn muted(self) -> Rgb {
        self.palette().muted
    }

    /// Lines that only guide the eye.
    pub fn grid(self) -> Rgb {
        self.palette().grid
    }

    /// What is no number, and steps that a mask skips: a grey of neither map.
    pub fn blank(self) -> Rgb {
        self.palette().blank
    }

    /// What is not finite: NaN and infinity, a hue of neither map.
    pub fn alarm(self) -> Rgb {
        self.palette().alarm
    }

    /// The map of what goes from 0 to 1, a gate for instance. Beyond that it stays at its ends.
    ///
    /// ```
    /// use ifco_view::color::Theme;
    /// let [low, high] = [0.0, 1.0].map(|t| Theme::Light.sequential(t).lightness());
    /// assert!(low > 0.95 && high < 0.35);
    /// ```
    pub fn sequential(self, t: f32) -> Rgb {
        along(&self.palette().sequential, t)
    }

    /// The map of what goes from -1 over 0 to 1: blue below, orange above.
    ///
    /// ```
    /// use ifco_view::color::{Rgb, Theme};
    /// let Rgb(red, _, blue) = Theme::Light.diverging(-1.0);
    /// assert!(blue > red);
    /// ```
    pub fn diverging(self, t: f32) -> Rgb {
        let Palette { below, above, .. } = self.palette();
        along(if t < 0.0 { below } else { above }, t.abs())
    }

    /// The colour of the n-th curve; six that can be told apart, then again from the first
    /// (after Okabe and Ito's palette).
    ///
    /// ```
    /// use ifco_view::color::Theme;
    /// assert_eq!(Theme::Dark.curve(0), Theme::Dark.curve(6));
    /// ```
    pub fn curve(self, n: usize) -> Rgb {
        let curves = &self.palette().curves;
        curves[n % curves.len()]
    }
}

/// The colour at `t` of 0 to 1 on a way through colours.
///
/// Between two of them lightness and hue change evenly; over the whole way, each stretch takes
/// its share of the change of lightness.
fn along(way: &[Rgb], t: f32) -> Rgb {
    let (Some(&first), Some(&last)) = (way.first(), way.last()) else {
        return Rgb(0, 0, 0);
    };
    let t = if t.is_nan() { 0.0 } else { t.clamp(0.0, 1.0) };
    let (from, to) = (lab(first), lab(last));
    let wanted = from[0] + (to[0] - from[0]) * t;
    for pair in way.windows(2) {
        let (a, b) = (lab(pair[0]), lab(pair[1]));
        let share = (wanted - a[0]) / (b[0] - a[0]);
        if share <= 1.0 {
            let share = share.max(0.0);
            return rgb([0, 1, 2].map(|i| a[i] + (b[i] - a[i]) * share));
        }
    }
    last
}

/// OKLab, after Björn Ottosson, "A perceptual color space for image processing" (2020).
fn lab(color: Rgb) -> [f32; 3] {
    let linear = |byte: u8| {
        let value = f32::from(byte) / 255.0;
        match value <= 0.04045 {
            true => value / 12.92,
            false => ((value + 0.055) / 1.055).powf(2.4),
        }
    };
    let (r, g, b) = (linear(color.0), linear(color.1), linear(color.2));
    let l = (0.412_221_46 * r + 0.536_332_55 * g + 0.051_445_995 * b).cbrt();
    let m = (0.211_903_5 * r + 0.680_699_5 * g + 0.107_396_96 * b).cbrt();
    let s = (0.088_302_46 * r + 0.281_718_85 * g + 0.629_978_7 * b).cbrt();
    [
        0.210_454_26 * l + 0.793_617_8 * m - 0.004_072_047 * s,
        1.977_998_5 * l - 2.428_592_2 * m + 0.450_593_7 * s,
        0.025_904_037 * l + 0.782_771_77 * m - 0.808_675_77 * s,
    ]
}

fn rgb([lightness, a, b]: [f32; 3]) -> Rgb {
    let l = (lightness + 0.396_337_78 * a + 0.215_803_76 * b).powi(3);
    let m = (lightness - 0.105_561_346 * a - 0.063_854_17 * b).powi(3);
    let s = (lightness - 0.089_484_18 * a - 1.291_485_5 * b).powi(3);
    let byte = |linear: f32| {
        let value = match linear <= 0.003_130_8 {
            true => 12.92 * linear,
            false => 1.055 * linear.powf(1.0 / 2.4) - 0.055,
        };
        (value * 255.0).round().clamp(0.0, 255.0) as u8
    };
    Rgb(
        byte(4.076_741_7 * l - 3.307_711_6 * m + 0.230_969_94 * s),
        byte(-1.268_438 * l + 2.609_757_4 * m - 0.341_319_38 * s),
        byte(-0.004_196_086_3 * l - 0.703_418_6 * m + 1.707_614_7 * s),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: usize = 64;

    fn lightness(theme: Theme, map: impl Fn(Theme, f32) -> Rgb) -> Vec<f32> {
        (0..=STEPS)
            .map(|step| map(theme, step as f32 / STEPS as f32).lightness())
            .collect()
    }

    /// Every step goes the same way, and none is much larger than the mean.
    fn is_even(values: &[f32]) -> bool {
        let whole = values[values.len() - 1] - values[0];
        values.windows(2).all(|pair| {
            let step = (pair[1] - pair[0]) / whole * (values.len() - 1) as f32;
            (0.4..1.6).contains(&step)
        })
    }

    #[test]
    fn the_maps_go_evenly_from_the_paper() {
        for theme in [Theme::Light, Theme::Dark] {
            let maps: [fn(Theme, f32) -> Rgb; 3] =
                [Theme::sequential, Theme::diverging, |theme, t| {
                    theme.diverging(-t)
                }];
            for map in maps {
                let values = lightness(theme, map);
                assert!(is_even(&values), "{theme:?}: {values:?}");
                assert!((values[0] - theme.paper().lightness()).abs() < 0.1);
                assert!((values[STEPS] - values[0]).abs() > 0.5);
            }
        }
    }

    #[test]
    fn beyond_the_ends_and_not_a_number() {
        let theme = Theme::Light;
        assert_eq!(theme.sequential(7.0), theme.sequential(1.0));
        assert_eq!(theme.sequential(f32::NAN), theme.sequential(0.0));
        assert_eq!(theme.diverging(f32::NEG_INFINITY), theme.diverging(-1.0));
    }

    #[test]
    fn there_and_back() {
        for color in LIGHT.sequential.iter().chain(&DARK.sequential) {
            let back = rgb(lab(*color));
            let near = |a: u8, b: u8| a.abs_diff(b) <= 1;
            assert!(near(color.0, back.0) && near(color.1, back.1) && near(color.2, back.2));
        }
    }

    /// Text that cannot be read is no text: WCAG asks for a contrast of 4.5.
    #[test]
    fn text_stands_out_from_the_paper() {
        let luminance = |color: Rgb| {
            let linear = |byte: u8| (f64::from(byte) / 255.0).powf(2.2);
            0.2126 * linear(color.0) + 0.7152 * linear(color.1) + 0.0722 * linear(color.2)
        };
        for theme in [Theme::Light, Theme::Dark] {
            for text in [theme.ink(), theme.muted()] {
                let (a, b) = (luminance(text), luminance(theme.paper()));
                assert!(
                    (a.max(b) + 0.05) / (a.min(b) + 0.05) > 4.5,
                    "{theme:?} {text}"
                );
            }
        }
    }
}
