//! Real builds, end to end: what runs again and what does not, and that the same bytes come
//! out whatever happens to the build on its way.
// Helpers of tests are not seen as tests by the lint's own exemption.
#![allow(clippy::unwrap_used)]

mod bed;
mod kills;
mod order;
mod places;
mod steps;
