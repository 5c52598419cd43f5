//! What a user types (design §3): the flags as structs, one subcommand a file in `cmd/`.
//!
//! Values stay text here. `plan::request` gives them meaning, because a value may also come
//! from the environment or from `<build-dir>/etc/build.toml`, and its origin must be known.

use crate::context::Context;
use crate::error::Status;
use camino::Utf8PathBuf;

/// Osier weaves an operating-system image from one Cargo workspace.
#[derive(clap::Parser, Debug)]
#[command(name = "xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that every command takes.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Global {
    /// Everything that a build writes lies here
    #[arg(long, global = true, value_name = "DIR", env = "OSIER_BUILD_DIR")]
    pub build_dir: Option<Utf8PathBuf>,
    /// Adds a repository: a folder with an osier.toml (may be given several times)
    #[arg(long, global = true, value_name = "DIR")]
    pub repo: Vec<Utf8PathBuf>,
    /// Shows every command line; twice also what was up to date
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Writes the result, or events one a line, as JSON on stdout
    #[arg(long, global = true)]
    pub json: bool,
}

/// What to build. Each takes several values, separated by commas; what two selections
/// share is done once.
#[derive(clap::Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct Selectors {
    /// x64, aarch64 (default: the host's; env ARCH)
    #[arg(long, value_name = "ARCH", value_delimiter = ',')]
    pub arch: Vec<String>,
    /// release, debug (default: release)
    #[arg(long, value_name = "MODE", value_delimiter = ',')]
    pub mode: Vec<String>,
    /// Driver profile, changed by +driver and ~driver (default: all)
    #[arg(long, value_name = "PROFILE", value_delimiter = ',')]
    pub profile: Vec<String>,
    /// What goes into the image (default: the arch's)
    #[arg(long, value_name = "IMAGE", value_delimiter = ',')]
    pub image: Vec<String>,
    /// Every complete profile and every image, of all archs and modes not narrowed otherwise
    #[arg(long)]
    pub matrix: bool,
    /// Physical address that the kernel is relocated for
    #[arg(long, value_name = "HEX")]
    pub kernel_base: Option<String>,
    /// The kernel leaves crash records: `run-qemu --dump` asks for it.
    #[arg(skip)]
    pub crash_dump: bool,
}

/// How to build it: flags that change no byte of an artifact.
#[derive(clap::Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildFlags {
    /// Steps at a time (default: CPUs or the cgroup quota; env MAX_JOBS)
    #[arg(short, long, value_name = "N")]
    pub jobs: Option<std::num::NonZeroUsize>,
    /// Nothing is fetched
    #[arg(long)]
    pub offline: bool,
    /// After a failure finishes what does not depend on it
    #[arg(long)]
    pub keep_going: bool,
    /// Reads every input again instead of trusting size and times
    #[arg(long)]
    pub rehash: bool,
    /// Runs every step but cargo's, and fails one that opens a file that it does not declare
    #[arg(long)]
    pub audit: bool,
}

/// The commands. One line here, one in [`Command::run`], one file in `cmd/`.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    Build(crate::cmd::build::Build),
    RunQemu(crate::cmd::run::RunQemu),
    Test(crate::cmd::test::Test),
    Check(crate::cmd::check::Check),
    RustAnalyzer(crate::cmd::rust_analyzer::RustAnalyzer),
    Bench(crate::cmd::bench::Bench),
    Plan(crate::cmd::plan::Plan),
    Why(crate::cmd::why::Why),
    Log(crate::cmd::log::Log),
    Size(crate::cmd::size::Size),
    Repro(crate::cmd::repro::Repro),
    Clean(crate::cmd::clean::Clean),
    Profile(crate::cmd::profile::Profile),
    Schema(crate::cmd::schema::Schema),
    New(crate::cmd::new::New),
    Doctor(crate::cmd::doctor::Doctor),
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// What `error.rs` says: a `Refusal` in the chain for a wrong request, others for a
    /// failed build or test.
    pub fn run(self, cx: &Context) -> anyhow::Result<Status> {
        match self {
            Command::Build(build) => build.run(cx),
            Command::RunQemu(run) => run.run(cx),
            Command::Test(test) => test.run(cx),
            Command::Check(check) => check.run(cx),
            Command::RustAnalyzer(server) => server.run(cx),
            Command::Bench(bench) => bench.run(cx),
            Command::Plan(plan) => plan.run(cx),
            Command::Why(why) => why.run(cx),
            Command::Log(log) => log.run(cx),
            Command::Size(size) => size.run(cx),
            Command::Repro(repro) => repro.run(cx),
            Command::Clean(clean) => clean.run(cx),
            Command::Profile(profile) => profile.run(cx),
            Command::Schema(schema) => schema.run(cx),
            Command::New(new) => new.run(cx),
            Command::Doctor(doctor) => doctor.run(cx),
        }
    }
}
