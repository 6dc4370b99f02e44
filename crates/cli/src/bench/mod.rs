//! stub
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}
pub(crate) fn run(_: Args, _: &crate::output::Output) -> Result<(), crate::failure::Failure> {
    Ok(())
}
