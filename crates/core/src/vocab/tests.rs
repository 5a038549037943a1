#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

#[test]
fn a_canonical_integer_and_its_text_are_one_id() {
    let mut vocab = Vocab::new();
    assert_eq!(vocab.intern_int(42), 0);
    assert_eq!(vocab.intern("42"), 0);
    assert_eq!(vocab.intern("-7"), 1);
    assert_eq!(vocab.as_ints(), Some(&[42, -7][..]));
    for (number, id) in
        ["042", "+42", "-0", " 42", "42.0", "🦀 crab", "", "9223372036854775808"].iter().enumerate()
    {
        assert_eq!(vocab.get(id), None);
        assert_eq!(vocab.intern(id), number as u32 + 2, "{id}");
    }
    assert_eq!(vocab.intern_int(-7), 1, "still the same after turning to text");
    assert_eq!(vocab.get_int(42), Some(0));
    assert_eq!(vocab.id(7), "🦀 crab");
    assert_eq!(vocab.as_ints(), None);
}

#[test]
fn the_ends_of_i64_are_canonical() {
    assert_eq!(canonical_int("-9223372036854775808"), Some(i64::MIN));
    assert_eq!(canonical_int("9223372036854775807"), Some(i64::MAX));
    assert_eq!(canonical_int("9223372036854775808"), None);
    assert_eq!(canonical_int("-9223372036854775809"), None);
}

#[test]
fn retain_renumbers_and_forgets_text_when_only_integers_stay() {
    let mut vocab = Vocab::from_ids(["3", "a", "1", "b"]).unwrap();
    assert_eq!(vocab.retain(&[true, true, true, false]), [0, 1, 2, u32::MAX]);
    assert_eq!(vocab.retain(&[false, false, true]), [u32::MAX, u32::MAX, 0]);
    assert_eq!(vocab.as_ints(), Some(&[1][..]));
    assert_eq!(vocab.get("3"), None);
}

#[test]
fn broken_bytes_are_refused_with_a_reason() {
    let good = Vocab::from_ids(["a", "é"]).unwrap().to_bytes();
    assert_eq!(good.len(), HEAD + 8 + 3);
    let refuse = |bytes: &[u8]| Vocab::from_bytes(bytes).unwrap_err().to_string();
    let changed = |at: usize, to: u8| {
        let mut bytes = good.clone();
        bytes[at] = to;
        bytes
    };
    assert!(refuse(b"RKVOCAB2").contains("begin"));
    assert!(refuse(&good[..20]).contains("cut off"));
    assert!(refuse(&good[..good.len() - 1]).contains("3 bytes, found 2"));
    assert!(refuse(&changed(8, 7)).contains("form 7"));
    assert!(refuse(&changed(23, 0xff)).contains("do not fit"));
    assert!(refuse(&changed(33, 0xff)).contains("not UTF-8"));
    let mut split = changed(24, 2);
    split[28] = 1;
    assert!(refuse(&split).contains("within a character"));
    let twice = [&good[..24], &[1, 0, 0, 0, 1, 0, 0, 0], b"aa"].concat();
    assert!(refuse(&twice).contains("occurs twice"));
    let mut ints = Vocab::from_ints(vec![5, 6]).unwrap().to_bytes();
    ints[32] = 5;
    assert!(refuse(&ints).contains("`5` occurs twice"));
    assert!(refuse(&[&ints[..], &[0]].concat()).contains("1 bytes follow"));
}

fn ids() -> impl Strategy<Value = Vec<String>> {
    let id = prop_oneof![any::<i64>().prop_map(|i| i.to_string()), "-?[0-9]{0,3}", ".{0,6}"];
    proptest::collection::vec(id, 0..60)
}

proptest! {
    #[test]
    fn numbers_and_ids_are_a_bijection_and_survive_bytes(ids in ids()) {
        let mut vocab = Vocab::new();
        let mut naive: Vec<String> = Vec::new();
        for id in &ids {
            let expected = naive.iter().position(|known| known == id).unwrap_or_else(|| {
                naive.push(id.clone());
                naive.len() - 1
            });
            prop_assert_eq!(vocab.intern(id) as usize, expected);
        }
        prop_assert_eq!(vocab.iter().collect::<Vec<_>>(), naive.clone());
        let loaded = Vocab::from_bytes(&vocab.to_bytes()).unwrap();
        prop_assert_eq!(&loaded, &vocab);
        for (number, id) in naive.iter().enumerate() {
            prop_assert_eq!(loaded.get(id), Some(number as u32));
        }
        let keep: Vec<bool> = naive.iter().map(|id| id.len() % 2 == 0).collect();
        let renumbered = vocab.retain(&keep);
        for (old, id) in naive.iter().enumerate() {
            prop_assert_eq!(vocab.get(id), keep[old].then_some(renumbered[old]));
        }
        let again: Vec<_> = vocab.iter().map(String::from).collect();
        prop_assert_eq!(Vocab::from_ids(again).unwrap(), vocab, "the form is canonical");
    }

    #[test]
    fn no_bytes_can_break_it(tail in proptest::collection::vec(any::<u8>(), 0..80), form in 0u8..3, count in 0u8..9) {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([form, 0, 0, 0, 0, 0, 0, 0, count, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(&tail);
        if let Ok(vocab) = Vocab::from_bytes(&bytes) {
            prop_assert_eq!(vocab.len(), count as usize);
        }
    }
}
