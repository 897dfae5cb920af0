//! The program `vgg`: trains, evaluates and predicts with VGG networks. See `vgg --help`.
#![forbid(unsafe_code)]

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
