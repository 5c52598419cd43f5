//! Pure: request + workspace + host → a plan that can be printed, hashed and compared.
//! Nothing here reads a file, and nothing runs that is not in the plan.

mod cargo;
mod final_crate;
mod image;
mod kernel;
mod make;
pub mod request;
pub mod show;
pub mod stamp;
mod step;
#[cfg(test)]
mod tests;
pub mod why;

pub use cargo::{CargoCall, Places, app_call, app_remaps, kernel_call, lock_call};
pub use final_crate::final_crate;
pub use kernel::KernelSpec;
pub use make::plan;
pub use request::{Selection, epoch, selections};
pub use stamp::{Change, Facts, Made, Outputs, Stamp};
pub use step::{
    Action, BuildHeader, BuildPlan, Input, PackContent, PackEntry, Relocate, Selected, Step,
    StepId, Tool,
};
