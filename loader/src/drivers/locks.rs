//! Where threads wait for the locks of drivers ([`driver_api::Mutex`]): all in one place, for
//! they are held for short and seldom wanted by two.

use driver_api::wait::WaitPlace;

use super::wait::Place;

static PLACE: Place = Place::new();

#[unsafe(no_mangle)]
extern "Rust" fn osier_lock_wait(ready: &mut dyn FnMut() -> bool) {
    PLACE.wait_until(ready);
}

#[unsafe(no_mangle)]
extern "Rust" fn osier_lock_wake() {
    PLACE.wake();
}
