//! The `ifco` command: parse arguments, call the library, print.

mod bench;
mod compare;
mod completions;
mod convert;
mod destination;
mod explain;
mod failure;
mod fit;
mod gates;
mod generate;
mod init;
mod inspect;
mod interrupt;
mod labels;
mod numpy;
mod opening;
mod orders;
mod output;
mod plot;
mod precision;
mod predict;
mod progress;
mod seeded;
mod show;
mod stream;
mod target;
mod threads;
mod trace;
mod train;
mod training;
mod view;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

const AFTER_HELP: &str = "\
Start here:
  ifco show model.keras                       what is in it, gate by gate
  ifco gates model.keras --layer lstm         W, U and b of each gate, by name
  ifco predict model.keras x.npy -o y.npy     what Keras's model.predict(x) gives
  ifco trace model.keras x.npy                every gate at every step, and what they say
  ifco explain model.keras x.npy              which steps of the input made the output
  ifco plot model.keras -o packing.svg        its weights, or its gates over time, as a picture
  ifco view model.keras x.npy --open          see it think, in the browser
  ifco stream model.keras < x.csv             the same step by step, without an end
  ifco fit forecast series.csv --target load  a new model from your data; or generate, tag, classify
  ifco generate shakespeare.keras             write on with a model of ifco fit generate
  ifco init net.toml -o model.keras           a new model without any training
  ifco train model.keras --x x.npy --y y.npy -o trained.keras   as model.fit does
  ifco convert old.h5 new.keras               in another format, checked
  ifco compare weights.pt port.keras          whether they agree; if not, where and why
  ifco bench model.keras                      how fast it runs here, and what holds it up
  ifco orders pytorch                         where another framework keeps each gate

Exit codes:
  0  it worked
  1  the model or a file cannot be used; stderr says what, where and what to do
  2  the command line is wrong
  3  ifco compare: the models differ";

/// Open any Keras LSTM model, see its gates, run it
///
/// Keras packs the four gates of an LSTM side by side into one matrix, in the order input,
/// forget, cell, output: i f c o. ifco opens the model, names the parts, and predicts with
/// exactly the numbers of Keras, without Python.
#[derive(Parser)]
#[command(name = "ifco", version, after_help = AFTER_HELP, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Show(show::Args),
    Gates(gates::Args),
    Predict(predict::Args),
    Trace(trace::Args),
    Explain(explain::Args),
    Plot(plot::Args),
    View(view::Args),
    Stream(stream::Args),
    Fit(fit::Args),
    Generate(generate::Args),
    Init(init::Args),
    Train(train::Args),
    Convert(convert::Args),
    Compare(compare::Args),
    Bench(bench::Args),
    Orders(orders::Args),
    Completions(completions::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = ifco::instruction_set() {
        let failure = failure::Failure::usage(error);
        return failure.help("unset it for the best one").report();
    }
    let result = match &cli.command {
        Command::Show(args) => show::run(args),
        Command::Gates(args) => gates::run(args),
        Command::Predict(args) => predict::run(args),
        Command::Trace(args) => trace::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Plot(args) => plot::run(args),
        Command::View(args) => view::run(args),
        Command::Stream(args) => stream::run(args),
        Command::Fit(args) => fit::run(args),
        Command::Generate(args) => generate::run(args),
        Command::Init(args) => init::run(args),
        Command::Train(args) => train::run(args),
        Command::Convert(args) => convert::run(args),
        Command::Compare(args) => compare::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Orders(args) => orders::run(args),
        Command::Completions(args) => completions::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
