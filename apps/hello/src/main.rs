//! The first program: greets.

fn main() {
    println!("Hello from Osier");
}
