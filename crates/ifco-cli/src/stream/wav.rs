//! Sound files: a step for each sample, or for each frame of a model that hears all channels.

use std::fs::File;
use std::io::{BufReader, BufWriter, Seek, Write};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Instant;

use hound::{SampleFormat, WavReader, WavSpec, WavWriter};
use ifco::Session;
use ifco::arrays::{ArrayProblem, write_file};
use serde_json::json;

use super::{Args, state};
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{self, count, short};
use crate::progress::Progress;

/// The samples of a sound file that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// float32: nothing is rounded or clipped
    Float,
    /// 16 bits
    Int16,
    /// 24 bits
    Int24,
    /// 32 bits
    Int32,
}

impl Format {
    fn samples(self) -> (u16, SampleFormat) {
        match self {
            Format::Float => (32, SampleFormat::Float),
            Format::Int16 => (16, SampleFormat::Int),
            Format::Int24 => (24, SampleFormat::Int),
            Format::Int32 => (32, SampleFormat::Int),
        }
    }
}

/// A WAVE file counts its bytes in 32 bits, header included.
const MOST_BYTES: u64 = u32::MAX as u64 - 1024;

/// How often Ctrl-C and the bar are looked after, in frames.
const PIECE: u64 = 4096;

/// What was done to a file.
struct Done {
    frames: u64,
    /// Samples beyond full scale, or no numbers.
    clipped: u64,
    interrupted: bool,
}

pub fn run(
    args: &Args,
    (from, to): (&Path, &Path),
    made_for: Option<f64>,
    open: &dyn Fn() -> Result<Session, Failure>,
) -> Result<(), Failure> {
    let mut reader = WavReader::open(from).map_err(|error| wrong(error, from))?;
    let spec = reader.spec();
    let is_known = match spec.sample_format {
        SampleFormat::Float => spec.bits_per_sample == 32,
        SampleFormat::Int => matches!(spec.bits_per_sample, 8 | 16 | 24 | 32),
    };
    if !is_known || spec.channels == 0 {
        return Err(wrong(hound::Error::Unsupported, from));
    }
    let mut sessions = sessions(spec, open, from)?;
    state::load(args, &mut sessions)?;
    if let Some(rate) = made_for.filter(|rate| *rate != f64::from(spec.sample_rate)) {
        eprintln!(
            "note: the model was made for {rate} Hz, {} has {} Hz: it will sound different; \
             `ffmpeg -i FILE -ar {rate} FILE.wav` brings sound to another rate",
            from.display(),
            spec.sample_rate
        );
    }
    let outputs: usize = sessions.iter().map(Session::output_len).sum();
    let (bits_per_sample, sample_format) = args
        .format
        .map_or((spec.bits_per_sample, spec.sample_format), Format::samples);
    let target = WavSpec {
        channels: u16::try_from(outputs).map_err(|_| {
            Failure::new(format_args!(
                "the model makes {outputs} channels, a file has 65535 at most"
            ))
        })?,
        bits_per_sample,
        sample_format,
        ..spec
    };
    let frames = frames(&reader, from)?;
    let bytes = u64::from(target.channels) * u64::from(bits_per_sample.div_ceil(8));
    if frames.saturating_mul(bytes) > MOST_BYTES {
        return Err(Failure::new(format_args!(
            "{} of {bytes} bytes are more than a .wav file can hold, 4 GiB",
            count(usize::try_from(frames).unwrap_or(usize::MAX), "frame")
        ))
        .at_file(to)
        .help("choose a smaller --format, or stream with --raw, which has no limit"));
    }

    let start = Instant::now();
    // What goes wrong in here has more to say than the file's writer can carry.
    let mut result = None;
    let written = write_file(to, |file| {
        let done = convert(&mut reader, frames, &mut sessions, file, target)
            .map_err(|failure| failure.at_file(from));
        let is_done = done.is_ok();
        result = Some(done);
        match is_done {
            true => Ok(()),
            false => Err(ArrayProblem::Unwritable("its content cannot be made".into()).into()),
        }
    });
    let done = match result {
        Some(Err(failure)) => return Err(failure),
        Some(Ok(done)) => done,
        None => Done {
            frames: 0,
            clipped: 0,
            interrupted: false,
        },
    };
    written?;
    state::save(args, &sessions)?;
    report(
        args,
        to,
        &done,
        spec.sample_rate,
        start.elapsed().as_secs_f64(),
    )?;
    if done.interrupted {
        std::process::exit(interrupt::INTERRUPTED);
    }
    Ok(())
}

/// One session for each channel, or one for all of them.
fn sessions(
    spec: WavSpec,
    open: &dyn Fn() -> Result<Session, Failure>,
    from: &Path,
) -> Result<Vec<Session>, Failure> {
    let channels = usize::from(spec.channels);
    let first = open()?;
    let values = first.input_len();
    if values != 1 && values == channels {
        return Ok(vec![first]);
    }
    if values != 1 {
        return Err(Failure::new(format_args!(
            "the model takes {} at each step, and the file has {}",
            count(values, "value"),
            count(channels, "channel"),
        ))
        .at_file(from)
        .help("a model for sound takes 1 value, or one for each channel"));
    }
    let mut sessions = vec![first];
    while sessions.len() < channels {
        sessions.push(open()?);
    }
    Ok(sessions)
}

/// How many frames there are: as the header says, but not more than the file holds. (Programs
/// that write to a pipe cannot know, and write the greatest number.)
fn frames(reader: &WavReader<BufReader<File>>, from: &Path) -> Result<u64, Failure> {
    let spec = reader.spec();
    let size = std::fs::metadata(from)
        .map_err(|error| {
            Failure::new(format_args!("the file cannot be read: {error}")).at_file(from)
        })?
        .len();
    let frame = u64::from(spec.channels) * u64::from(spec.bits_per_sample.div_ceil(8));
    Ok(u64::from(reader.duration()).min(size / frame.max(1)))
}

fn convert(
    reader: &mut WavReader<BufReader<File>>,
    frames: u64,
    sessions: &mut [Session],
    file: &mut BufWriter<File>,
    target: WavSpec,
) -> Result<Done, Failure> {
    let stop = interrupt::watch();
    let mut progress = Progress::new(frames, "samples");
    let spec = reader.spec();
    let mut writer = Writer {
        wav: WavWriter::new(file, target).map_err(unwritable)?,
        spec: target,
        clipped: 0,
    };
    let mut frame = vec![0.0; usize::from(spec.channels)];
    // A file that is shorter than its header says is read to its end.
    let mut samples: Box<dyn Iterator<Item = hound::Result<f32>> + '_> = match spec.sample_format {
        SampleFormat::Float => Box::new(reader.samples::<f32>()),
        SampleFormat::Int => {
            let scale = 1.0 / full_scale(spec.bits_per_sample);
            let samples = reader.samples::<i32>();
            Box::new(
                samples.map(move |sample| sample.map(|sample| (f64::from(sample) * scale) as f32)),
            )
        }
    };
    let mut done = 0;
    let mut interrupted = false;
    while done < frames {
        if done % PIECE == 0 {
            progress.show(done);
            interrupted = stop.load(Ordering::Relaxed);
            if interrupted {
                break;
            }
        }
        if !read_frame(&mut samples, &mut frame)? {
            break;
        }
        let each = frame.len() / sessions.len().max(1);
        for (session, x) in sessions.iter_mut().zip(frame.chunks_exact(each.max(1))) {
            session.check(x).map_err(Failure::from)?;
            session.step(x).iter().try_for_each(|y| writer.write(*y))?;
        }
        done += 1;
    }
    let Writer { wav, clipped, .. } = writer;
    wav.finalize().map_err(unwritable)?;
    Ok(Done {
        frames: done,
        clipped,
        interrupted,
    })
}

/// False where the file ends.
fn read_frame(
    samples: &mut dyn Iterator<Item = hound::Result<f32>>,
    frame: &mut [f32],
) -> Result<bool, Failure> {
    for value in frame {
        match samples.next() {
            Some(Ok(sample)) => *value = sample,
            None => return Ok(false),
            Some(Err(hound::Error::IoError(error)))
                if error.kind() == std::io::ErrorKind::UnexpectedEof =>
            {
                return Ok(false);
            }
            Some(Err(error)) => return Err(Failure::new(describe(&error))),
        }
    }
    Ok(true)
}

/// 1.0 as an integer of so many bits.
fn full_scale(bits: u16) -> f64 {
    2_f64.powi(i32::from(bits) - 1)
}

struct Writer<W: Write + Seek> {
    wav: WavWriter<W>,
    spec: WavSpec,
    clipped: u64,
}

impl<W: Write + Seek> Writer<W> {
    fn write(&mut self, y: f32) -> Result<(), Failure> {
        match self.spec.sample_format {
            SampleFormat::Float => self.wav.write_sample(y),
            SampleFormat::Int => {
                let scale = full_scale(self.spec.bits_per_sample);
                let scaled = (f64::from(y) * scale).round();
                let fits = scaled.clamp(-scale, scale - 1.0);
                // A NaN is not within any bounds, and becomes 0.
                self.clipped += u64::from(fits != scaled);
                self.wav.write_sample(fits as i32)
            }
        }
        .map_err(unwritable)
    }
}

fn report(args: &Args, to: &Path, done: &Done, rate: u32, seconds: f64) -> Result<(), Failure> {
    let sound = done.frames as f64 / f64::from(rate.max(1));
    let factor = sound / seconds.max(1e-9);
    if args.json {
        let report = json!({
            "file": to.display().to_string(),
            "frames": done.frames,
            "seconds_of_sound": sound,
            "seconds": seconds,
            "real_time_factor": factor,
            "clipped": done.clipped,
            "interrupted": done.interrupted,
        });
        return output::print(&format!("{report}\n"));
    }
    if done.interrupted {
        eprintln!("note: Ctrl-C ended it early; the file is whole up to there");
    }
    if done.clipped > 0 {
        eprintln!(
            "note: {} beyond full scale: to keep them, save with --format float",
            match done.clipped {
                1 => "1 sample was clipped, being".to_string(),
                many => format!("{many} samples were clipped, being"),
            }
        );
    }
    output::print(&format!(
        "{}: {} s of sound in {} s, {} times real time\n",
        to.display(),
        short(sound),
        short(seconds),
        short(factor)
    ))
}

fn describe(error: &hound::Error) -> String {
    match error {
        hound::Error::IoError(error) => format!("the file cannot be read: {error}"),
        hound::Error::FormatError(what) => format!("this is no .wav file that can be read: {what}"),
        hound::Error::Unsupported => "its samples are of a kind that ifco does not read".into(),
        other => format!("this is no .wav file that can be read: {other}"),
    }
}

fn wrong(error: hound::Error, path: &Path) -> Failure {
    let failure = Failure::new(describe(&error)).at_file(path);
    match error {
        hound::Error::IoError(_) => failure,
        _ => failure.help(
            "ifco reads .wav with samples of 8, 16, 24 or 32 bits or float32; \
             `ffmpeg -i FILE -c:a pcm_f32le FILE.wav` makes one",
        ),
    }
}

fn unwritable(error: hound::Error) -> Failure {
    Failure::new(match error {
        hound::Error::IoError(error) => format!("the sound cannot be written: {error}"),
        other => format!("the sound cannot be written: {other}"),
    })
}
