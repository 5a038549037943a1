#![allow(clippy::unwrap_used)]
use super::*;
use serde_json::json;

fn artefact() -> Artefact {
    let mut tensors = Tensors::default();
    tensors.insert("items", &[3, 2], vec![0.5f32, -1.0, 2.0, 0.0, 1.5, 3.0]);
    tensors.insert("counts", &[3], vec![7u32, 0, 9]);
    Artefact {
        manifest: Manifest {
            format: FORMAT,
            version: "0".into(),
            name: "MF-2/RD".into(),
            kind: "bpr_mf".into(),
            config: json!({"dim": 2}),
            n_users: 2,
            n_items: 3,
            n_parameters: 6,
            card: json!({"teachers": ["BPR"]}),
            files: BTreeMap::new(),
        },
        tensors,
        users: Vocab::from_ids(["anna", "böb 🙂"]).unwrap(),
        items: Vocab::from_ints(vec![10, -4, 7]).unwrap(),
        history: Interactions::new(3, Lists::from_iter([vec![2, 0], vec![]]), None, None).unwrap(),
    }
}

fn written() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("model");
    artefact().write(&folder).unwrap();
    (root, folder)
}

#[test]
fn what_was_written_is_read() {
    let (_root, folder) = written();
    let (made, read) = (artefact(), Artefact::read(&folder).unwrap());
    assert_eq!((&made.tensors, &made.history), (&read.tensors, &read.history));
    assert_eq!(read.users.id(1), "böb 🙂");
    assert_eq!(read.items.get("-4"), Some(1));
    assert_eq!(read.manifest.config, made.manifest.config);
    assert_eq!(read.manifest.files.len(), 4);
    let mapped = Artefact::read_mapped(&folder).unwrap();
    assert!(mapped.tensors.mapped("items").is_some() && read.tensors.mapped("items").is_none());
    assert_eq!((&made.tensors, &made.history), (&mapped.tensors, &mapped.history));
    // Replacing the folder leaves mapped arrays unchanged.
    let mut other = artefact();
    other.tensors.insert("items", &[3, 2], vec![9.0f32; 6]);
    other.write(&folder).unwrap();
    assert_eq!(made.tensors, mapped.tensors);
    assert_ne!(made.tensors, Artefact::read_mapped(&folder).unwrap().tensors);
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    let ((_a, first), (_b, second)) = (written(), written());
    for name in [MANIFEST, TENSORS, HISTORY, USERS, ITEMS] {
        assert_eq!(fs::read(first.join(name)).unwrap(), fs::read(second.join(name)).unwrap());
    }
}

#[test]
fn a_file_that_changed_since_is_refused_by_name() {
    for name in [TENSORS, HISTORY, USERS, ITEMS] {
        let (_root, folder) = written();
        let bytes = fs::read(folder.join(name)).unwrap();
        for at in [0, bytes.len() / 2, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            fs::write(folder.join(name), &changed).unwrap();
            let error = Artefact::read(&folder).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("SHA-256"), "{error}");
            assert_eq!(Artefact::read_mapped(&folder).unwrap_err().to_string(), error);
        }
        fs::write(folder.join(name), &bytes[1..]).unwrap();
        let error = Artefact::read(&folder).unwrap_err().to_string();
        assert!(error.contains("the manifest says"), "{error}");
        assert_eq!(Artefact::read_mapped(&folder).unwrap_err().to_string(), error);
        fs::remove_file(folder.join(name)).unwrap();
        assert!(Artefact::read(&folder).is_err());
    }
}

/// Rewrites one file and makes the manifest agree with it: a forger, not an accident.
fn forge(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let mut manifest = Artefact::read_manifest(folder).unwrap();
    let stamp = FileStamp { bytes: bytes.len() as u64, sha256: sha256(bytes) };
    manifest.files.insert(name.into(), stamp);
    fs::write(folder.join(name), bytes).unwrap();
    fs::write(folder.join(MANIFEST), serde_json::to_string(&manifest).unwrap()).unwrap();
    let error = Artefact::read(folder).unwrap_err().to_string();
    assert_eq!(Artefact::read_mapped(folder).unwrap_err().to_string(), error);
    error
}

#[test]
fn a_forged_folder_is_refused() {
    let (_root, folder) = written();
    let bad = Tensors::from_iter([("items", vec![1.0, f32::NAN].into())]);
    assert!(forge(&folder, TENSORS, &tensors_to_bytes("", &bad)).contains("NaN at 1"));
    let (_root, folder) = written();
    assert!(forge(&folder, TENSORS, b"\xff\xff\xff\xff\xff\xff\xff\x7f{}").contains(TENSORS));
    let (_root, folder) = written();
    let beyond =
        Tensors::from_iter([("starts", vec![0u64, 2, 2].into()), ("items", vec![0u32, 3].into())]);
    let error = forge(&folder, HISTORY, &tensors_to_bytes("", &beyond));
    assert!(error.contains("item 3 is not in a catalogue of 3"), "{error}");
    let (_root, folder) = written();
    let falling = Tensors::from_iter([
        ("starts", vec![0u64, u64::MAX, 2].into()),
        ("items", vec![0u32, 1].into()),
    ]);
    assert!(forge(&folder, HISTORY, &tensors_to_bytes("", &falling)).contains("never decrease"));
    let (_root, folder) = written();
    let few = Vocab::from_ids(["only"]).unwrap().to_bytes();
    assert!(forge(&folder, USERS, &few).contains("1 ids, the manifest says 2"));
}

#[test]
fn a_newer_layout_and_a_strange_manifest_are_refused() {
    let (_root, folder) = written();
    let text = fs::read_to_string(folder.join(MANIFEST)).unwrap();
    let try_with = |text: &str| {
        fs::write(folder.join(MANIFEST), text).unwrap();
        Artefact::read(&folder).unwrap_err().to_string()
    };
    assert!(try_with(&text.replace("\"format\": 1", "\"format\": 2")).contains("newer"));
    assert!(try_with(&text.replace("\"kind\"", "\"kinds\"")).contains("kinds"));
    assert!(try_with("{}").contains("no `format`"));
    assert!(try_with("[").contains(MANIFEST));
}

#[test]
fn something_else_in_its_place_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("letter"), "dear").unwrap();
    assert!(artefact().write(root.path()).is_err());
    assert_eq!(fs::read(root.path().join("letter")).unwrap(), b"dear");
}

#[test]
fn a_flipped_bit_of_a_checkpoint_is_refused_by_name() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("checkpoint.safetensors");
    let text = r#"{"epoch":3,"loss":0.5}"#;
    write_tensors(&path, text, &artefact().tensors).unwrap();
    let whole = fs::read(&path).unwrap();
    let (found, tensors) = read_tensors(&path).unwrap().unwrap();
    assert_eq!((found.as_str(), &tensors), (text, &artefact().tensors));
    for bit in 0..8 * whole.len() {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, flipped).unwrap();
        let error = read_tensors(&path).map(|_| bit).unwrap_err().to_string();
        assert!(error.contains("checkpoint.safetensors"), "{error}");
    }
    // As versions before checksums wrote it.
    fs::write(&path, tensors_to_bytes(text, &artefact().tensors)).unwrap();
    assert_eq!(read_tensors(&path).unwrap().unwrap(), (text.to_owned(), artefact().tensors));
    fs::remove_file(&path).unwrap();
    assert!(read_tensors(&path).unwrap().is_none());
}
