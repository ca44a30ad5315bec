//! Where actors get random bytes from. Cores take what they need as an argument; a test hands in a counter.

/// Fills a buffer with bytes that nobody can guess.
pub type Random = Box<dyn FnMut(&mut [u8]) + Send>;

/// The system's generator.
///
/// # Panics
/// When the system has no random bytes: then nothing may be issued, and the supervisor shall know.
pub fn system() -> Random {
    Box::new(|bytes| {
        let filled = aws_lc_rs::rand::fill(bytes);
        assert!(filled.is_ok(), "the system has no random bytes");
    })
}

/// An array of random bytes.
pub fn array<const N: usize>(random: &mut Random) -> [u8; N] {
    let mut bytes = [0; N];
    random(&mut bytes);
    bytes
}

/// A generator that counts, for tests: every call fills the buffer with the next number.
#[cfg(test)]
pub fn counting() -> Random {
    let mut calls = 0_u8;
    Box::new(move |bytes| {
        calls = calls.wrapping_add(1);
        bytes.fill(calls);
    })
}
