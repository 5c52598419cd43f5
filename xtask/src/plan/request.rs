//! From what was typed, the environment and the settings to the list of what to build.
//! Command line > environment > `<build-dir>/etc/build.toml` > workspace > default.

use crate::cli::Selectors;
use crate::config::resolved::{Origin, ProfileStatus, Sourced, Workspace};
use crate::config::selector::ProfileSelector;
use crate::config::suggest;
use crate::context::Env;
use crate::error::Refusal;
use crate::model::{Arch, Mode, Name};
use std::fmt::Display;
use std::str::FromStr;

/// The page size of the kernel's own map.
const LARGE_PAGE: u64 = 0x20_0000;

/// One thing to build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    pub arch: Sourced<Arch>,
    pub mode: Sourced<Mode>,
    pub profile: Sourced<ProfileSelector>,
    pub image: Sourced<Name>,
    pub kernel_base: Sourced<u64>,
    /// The kernel leaves crash records.
    pub crash_dump: bool,
}

/// Every combination of what was selected, in the order in which it was typed.
///
/// With several archs a profile or an image that one of them lacks is skipped there; it is an
/// error when no arch has it.
///
/// # Errors
/// Unknown names and values, each with what they might have meant.
pub fn selections(
    typed: &Selectors,
    env: &Env,
    workspace: &Workspace,
) -> Result<Vec<Selection>, Refusal> {
    let settings = &workspace.settings;
    let arches = layered(
        values("--arch", &typed.arch)?,
        environment("ARCH", env)?,
        settings.arch.clone(),
        || host_arch(typed.matrix),
    )?;
    let modes = layered(values("--mode", &typed.mode)?, None, settings.mode.clone(), || {
        Ok(if typed.matrix { Mode::ALL.to_vec() } else { vec![Mode::default()] })
    })?;
    let profiles = values::<ProfileSelector>("--profile", &typed.profile)?;
    let set = settings.profile.clone().map(parse_settings).transpose()?;
    let mut out = Vec::new();
    for arch in spread(&arches) {
        let profiles = layered(profiles.clone(), None, set.clone(), || {
            default_profiles(typed.matrix, arch.value, workspace)
        })?;
        let images =
            layered(values("--image", &typed.image)?, None, settings.image.clone(), || {
                default_images(typed.matrix, arch.value, workspace)
            })?;
        let several = arches.value.len() > 1;
        for mode in spread(&modes) {
            for profile in spread(&profiles) {
                if !has_profile(workspace, arch.value, &profile.value.profile, several)? {
                    continue;
                }
                for image in spread(&images) {
                    if !has_image(workspace, arch.value, &image.value, several)? {
                        continue;
                    }
                    let kernel_base = kernel_base(typed, arch.value, workspace)?;
                    out.push(Selection {
                        arch: arch.clone(),
                        mode: mode.clone(),
                        profile: profile.clone(),
                        image,
                        kernel_base,
                        crash_dump: typed.crash_dump,
                    });
                }
            }
        }
    }
    if out.is_empty() {
        return Err(Refusal::new(
            "nothing is selected: no arch has both the profile and the image",
        ));
    }
    let mut seen = Vec::new();
    out.retain(|s: &Selection| {
        let what = (s.arch.value, s.mode.value, s.profile.value.clone(), s.image.value.clone());
        let new = !seen.contains(&what);
        seen.push(what);
        new
    });
    Ok(out)
}

/// The time that everything packed is dated with: `SOURCE_DATE_EPOCH`, else 1970.
///
/// # Errors
/// When the variable is no number.
pub fn epoch(env: &Env) -> Result<Sourced<i64>, Refusal> {
    const NAME: &str = "SOURCE_DATE_EPOCH";
    let Some(text) = env.get(NAME).filter(|t| !t.is_empty()) else {
        return Ok(Sourced { value: 0, origin: Origin::Default });
    };
    let refuse = |_| {
        Refusal::new(format!("{NAME}={text} is not a number of seconds since 1970"))
            .help(format!("unset {NAME}, or set it to what `git log -1 --format=%ct` prints"))
    };
    let value = text.parse().map_err(refuse)?;
    Ok(Sourced { value, origin: Origin::Environment(NAME.to_owned()) })
}

/// The first layer that says something.
fn layered<T>(
    typed: Option<Sourced<Vec<T>>>,
    environment: Option<Sourced<Vec<T>>>,
    settings: Option<Sourced<Vec<T>>>,
    default: impl FnOnce() -> Result<Vec<T>, Refusal>,
) -> Result<Sourced<Vec<T>>, Refusal> {
    match typed.or(environment).or(settings) {
        Some(said) => Ok(said),
        None => Ok(Sourced { value: default()?, origin: Origin::Default }),
    }
}

/// The values of a flag, when it was given.
fn values<T: FromStr<Err: Display>>(
    flag: &str,
    typed: &[String],
) -> Result<Option<Sourced<Vec<T>>>, Refusal> {
    if typed.is_empty() {
        return Ok(None);
    }
    let parse =
        |s: &String| s.trim().parse().map_err(|e: T::Err| Refusal::new(format!("{flag} {s}: {e}")));
    let value = typed.iter().map(parse).collect::<Result<_, _>>()?;
    Ok(Some(Sourced { value, origin: Origin::CommandLine(flag.to_owned()) }))
}

/// The values of a variable, separated by commas, when it is set and not empty.
fn environment<T: FromStr<Err: Display>>(
    name: &str,
    env: &Env,
) -> Result<Option<Sourced<Vec<T>>>, Refusal> {
    let Some(text) = env.get(name).filter(|v| !v.is_empty()) else { return Ok(None) };
    let parse = |s: &str| {
        let refuse = |e: T::Err| {
            Refusal::new(format!("the environment has {name}={text}: {e}"))
                .help(format!("unset {name}, or give the flag, which wins over it"))
        };
        s.trim().parse().map_err(refuse)
    };
    let value = text.split(',').map(parse).collect::<Result<_, _>>()?;
    Ok(Some(Sourced { value, origin: Origin::Environment(name.to_owned()) }))
}

/// Profiles in settings are text, as users write them.
fn parse_settings(text: Sourced<Vec<String>>) -> Result<Sourced<Vec<ProfileSelector>>, Refusal> {
    let parse = |s: &String| s.parse().map_err(|e| Refusal::new(format!("{}: {e}", text.origin)));
    let value = text.value.iter().map(parse).collect::<Result<_, _>>()?;
    Ok(Sourced { value, origin: text.origin })
}

/// One `Sourced` for each of several values.
fn spread<T: Clone>(list: &Sourced<Vec<T>>) -> impl Iterator<Item = Sourced<T>> {
    list.value.iter().map(|v| Sourced { value: v.clone(), origin: list.origin.clone() })
}

fn host_arch(matrix: bool) -> Result<Vec<Arch>, Refusal> {
    if matrix {
        return Ok(Arch::ALL.to_vec());
    }
    let host = Arch::host().ok_or_else(|| {
        Refusal::new(format!(
            "kernels cannot be built for this host's arch, {}",
            std::env::consts::ARCH
        ))
        .help("name one: --arch x64 or --arch aarch64")
    })?;
    Ok(vec![host])
}

fn default_profiles(
    matrix: bool,
    arch: Arch,
    workspace: &Workspace,
) -> Result<Vec<ProfileSelector>, Refusal> {
    if matrix {
        let complete = workspace
            .profiles
            .values()
            .filter(|p| p.arch == arch && p.status == ProfileStatus::Complete);
        return complete.map(|p| selector(p.name.as_str())).collect();
    }
    Ok(vec![selector("all")?])
}

fn selector(name: &str) -> Result<ProfileSelector, Refusal> {
    name.parse().map_err(Refusal::new)
}

fn default_images(matrix: bool, arch: Arch, workspace: &Workspace) -> Result<Vec<Name>, Refusal> {
    if matrix {
        let here = workspace.images.values().filter(|i| i.per_arch.contains_key(&arch));
        return Ok(here.map(|i| i.name.clone()).collect());
    }
    let config = workspace.arches.get(&arch).ok_or_else(|| no_arch(arch))?;
    Ok(vec![config.default_image.clone()])
}

fn no_arch(arch: Arch) -> Refusal {
    Refusal::new(format!("there is no kernel-config/arch/{arch}.toml"))
}

/// Whether `arch` has the profile. Where `several` archs are selected it is enough that one has.
fn has_profile(w: &Workspace, arch: Arch, name: &Name, several: bool) -> Result<bool, Refusal> {
    if w.profiles.contains_key(&(arch, name.clone())) {
        return Ok(true);
    }
    if several && w.profiles.keys().any(|(_, n)| n == name) {
        return Ok(false);
    }
    let here = w.profiles.keys().filter(|(a, _)| *a == arch).map(|(_, n)| n.as_str());
    Err(unknown("profile", name, arch, here)
        .help(format!("cargo xtask profile list --arch {arch}")))
}

fn has_image(w: &Workspace, arch: Arch, name: &Name, several: bool) -> Result<bool, Refusal> {
    let found = w.images.get(name);
    if found.is_some_and(|i| i.per_arch.contains_key(&arch)) {
        return Ok(true);
    }
    if several && found.is_some() {
        return Ok(false);
    }
    let here = w.images.values().filter(|i| i.per_arch.contains_key(&arch));
    Err(unknown("image", name, arch, here.map(|i| i.name.as_str())))
}

/// A name that nothing has, with those that exist.
fn unknown<'a>(
    what: &str,
    name: &Name,
    arch: Arch,
    known: impl Iterator<Item = &'a str>,
) -> Refusal {
    let known: Vec<&str> = known.collect();
    let refusal = Refusal::new(format!("unknown {what} `{name}` for {arch}"));
    let refusal = match suggest::nearest(name.as_str(), known.iter().copied()) {
        Some(near) => refusal.help(format!("did you mean `{near}`?")),
        None => refusal,
    };
    match known.as_slice() {
        [] => refusal.help(format!("there is no {what} for {arch}")),
        names => refusal.help(format!("the {what}s for {arch} are: {}", names.join(", "))),
    }
}

/// `--kernel-base`, or the arch's.
fn kernel_base(typed: &Selectors, arch: Arch, w: &Workspace) -> Result<Sourced<u64>, Refusal> {
    let config = w.arches.get(&arch).ok_or_else(|| no_arch(arch))?;
    let Some(text) = &typed.kernel_base else { return Ok(config.kernel_base.clone()) };
    let digits = text.strip_prefix("0x").unwrap_or(text).replace('_', "");
    let value = u64::from_str_radix(&digits, 16).map_err(|_| {
        Refusal::new(format!("--kernel-base {text} is not a hexadecimal number"))
            .help(format!("for example --kernel-base {:#x}", config.kernel_base.value))
    })?;
    // The high-half map uses 2 MiB pages, and the kernel computes where it is in multiples
    // of them: every base must be congruent to the arch's own.
    let own = config.kernel_base.value;
    if value % LARGE_PAGE != own % LARGE_PAGE || value == 0 {
        let near = (value - value % LARGE_PAGE).saturating_add(own % LARGE_PAGE).max(own);
        return Err(Refusal::new(format!(
            "--kernel-base {value:#x} is not {own:#x} plus or minus a multiple of 2 MiB ({LARGE_PAGE:#x})"
        ))
        .help(format!("did you mean --kernel-base {near:#x}?")));
    }
    // The kernel is mapped at the high half's begin plus its base, so the bases end where the
    // addresses do. Whether all of the kernel fits below is known when it is linked.
    let room = config.high_half.wrapping_neg();
    if room != 0 && value >= room {
        let last = room.saturating_sub(LARGE_PAGE).saturating_add(own % LARGE_PAGE);
        return Err(Refusal::new(format!(
            "--kernel-base {value:#x} is beyond the {} MiB that the kernel's addresses on {arch} reach",
            room >> 20
        ))
        .help(format!("the highest base is {last:#x}")));
    }
    Ok(Sourced { value, origin: Origin::CommandLine("--kernel-base".to_owned()) })
}
