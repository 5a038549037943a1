//! Any bytes, loaded as a vocabulary: an error, or a vocabulary that writes and reads as itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rankstill_core::Vocab;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(vocab) = Vocab::from_bytes(bytes) {
        let again = Vocab::from_bytes(&vocab.to_bytes()).expect("what was written is read");
        assert_eq!(again, vocab);
        for (number, id) in vocab.iter().enumerate() {
            assert_eq!(vocab.get(&id), Some(number as u32));
        }
    }
});
