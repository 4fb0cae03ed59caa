fn main() { println!("test nothing ... ok"); }
