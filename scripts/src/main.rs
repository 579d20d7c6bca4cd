//! `cargo xtask`: the commands that developers and CI share.

mod bench;
mod check;
mod cluster;
mod run;
mod tidy;
mod tools;

use std::process::ExitCode;

const HELP: &str = "\
usage: cargo xtask COMMAND

  check [--install] [--seeds N]
                      format, lints, docs, tests, house rules; --install first fetches what the tests need, --seeds
                      then simulates as many seeds, twice each, built for speed
  bench [--hard] [--s3] [--cold] [--mb N] [--binary FILE] [--peer URL] [--peer-pid N] [-- SERVE-OPTIONS]
                      push a gigabyte of logs, ask six queries, print what it took
  bench --cluster [--hard] [--mb N] [--binary FILE] [-- SERVE-OPTIONS]
                      a quarter of that to one node and to three that keep it thrice, side by side
  cluster [--release] start three nodes on this machine, to try things with; Ctrl-C ends them
  tools               fetch what the tests need: Debian packages, client libraries, an S3 server
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["check"] => check::check(),
        ["check", "--install"] => tools::install().and_then(|()| check::check()),
        ["check", "--seeds", seeds] => check::check().and_then(|()| check::simulate(seeds)),
        ["check", "--install", "--seeds", seeds] => {
            tools::install().and_then(|()| check::check()).and_then(|()| check::simulate(seeds))
        }
        ["bench", options @ ..] => bench::bench(options),
        ["cluster", options @ ..] => cluster::cluster(options),
        ["tools"] => tools::install(),
        ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        _ => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
