//! Any bytes, loaded as a vocabulary, give an error or a vocabulary that is written and read back unchanged.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rankstill_core::Vocab;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(vocab) = Vocab::from_bytes(bytes) {
        let again = Vocab::from_bytes(&vocab.to_bytes()).expect("a written vocabulary can be read");
        assert_eq!(again, vocab);
        for (number, id) in vocab.iter().enumerate() {
            assert_eq!(vocab.get(&id), Some(number as u32));
        }
    }
});
