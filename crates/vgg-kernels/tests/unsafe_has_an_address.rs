//! Unsafe code is where `ALLOWED` says and nowhere else. The workspace denies it (`[workspace.lints]`),
//! so each place needs an attribute that allows it, and this test knows them all.

use std::path::{Path, PathBuf};

/// Files with an attribute that allows unsafe code: below this folder of crates, to the end of a path.
const ALLOWED: [&str; 5] = [
    "vgg-engine/src/lib.rs", // The module `arena`, and no other.
    "vgg-engine/tests/no_allocation.rs",
    "vgg-kernels/benches/layers.rs",
    "vgg-kernels/src/lib.rs",
    "vgg-kernels/tests/guard_pages.rs",
];

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All files below `folder` whose names end with `ending`.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_str().is_some_and(|path| path.ends_with(ending)) {
            found.push(path);
        }
    }
    found
}

/// Lines of code that allow unsafe code, or change the level of the lint in another way.
fn allowing(text: &str) -> Vec<&str> {
    let code = text.lines().map(str::trim).filter(|line| line.starts_with("#[") || line.starts_with("#!["));
    code.filter(|line| line.contains("unsafe_code") && !line.contains("forbid(unsafe_code)")).collect()
}

#[test]
fn unsafe_code_is_allowed_in_the_kernels_and_the_arena_only() {
    let mut found = Vec::new();
    for path in files(&crates(), ".rs") {
        let text = std::fs::read_to_string(&path).unwrap();
        if !allowing(&text).is_empty() {
            found.push(path.strip_prefix(crates()).unwrap().to_str().unwrap().to_owned());
        }
    }
    found.sort();
    assert_eq!(found, ALLOWED);
    let engine = std::fs::read_to_string(crates().join("vgg-engine/src/lib.rs")).unwrap();
    assert!(engine.contains("#[allow(unsafe_code)]\nmod arena;\n"), "the arena alone");
    assert_eq!(allowing(&engine).len(), 1, "the arena alone");
}

#[test]
fn every_crate_has_the_lints_of_the_workspace() {
    let workspace = std::fs::read_to_string(crates().parent().unwrap().join("Cargo.toml")).unwrap();
    for lint in ["unsafe_code = \"deny\"", "undocumented_unsafe_blocks = \"deny\""] {
        assert!(workspace.contains(&format!("\n{lint}")), "{lint}");
    }
    for entry in std::fs::read_dir(crates()).unwrap() {
        let manifest = entry.unwrap().path().join("Cargo.toml");
        let text = std::fs::read_to_string(&manifest).unwrap();
        assert!(text.contains("[lints]\nworkspace = true\n"), "{}", manifest.display());
    }
}
