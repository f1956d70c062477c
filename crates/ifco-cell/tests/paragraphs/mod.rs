//! How the golden files are written: arrays by name, one a line.

use ndarray::ArrayD;

/// The values of a line.
pub fn numbers(text: &str) -> Vec<f32> {
    text.split(' ').map(|word| word.parse().unwrap()).collect()
}

/// An array and its name.
pub type Named<'a> = (&'a str, ArrayD<f32>);

/// `name 2x3 0.1 0.2 …`
pub fn array(line: &str) -> Named<'_> {
    let mut words = line.splitn(3, ' ');
    let (name, shape) = (words.next().unwrap(), words.next().unwrap());
    let shape: Vec<usize> = shape.split('x').map(|size| size.parse().unwrap()).collect();
    let values = numbers(words.next().unwrap());
    (name, ArrayD::from_shape_vec(shape, values).unwrap())
}
