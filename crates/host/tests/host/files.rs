use crate::harness::{App, manifest};

#[test]
fn a_component_reads_its_files_and_no_others() {
    let app = App::new(&manifest(
        "files = [\"gates.toml\", { source = \"assets\", destination = \"/www\" }]\nexclude_files = [\"assets/*.map\"]\n",
    ));
    app.write("gates.toml", "gate");
    app.write("assets/a/b.txt", "deep");
    app.write("assets/a.map", "map");
    app.write("other.txt", "other");
    let host = app.up(&[]);
    assert_eq!(host.ok("/file?path=/gates.toml"), "gate");
    assert_eq!(host.ok("/file?path=www/a/b.txt"), "deep");
    for path in [
        "/other.txt",
        "/spin.toml",
        "/www/a.map",
        "/../other.txt",
        "/etc/passwd",
        "/www/../../other.txt",
    ] {
        host.failure(&format!("/file?path={path}"));
    }
    for path in ["/gates.toml", "/new.txt", "/www/new.txt"] {
        host.failure(&format!("/write?path={path}"));
    }
    assert_eq!(host.ok("/file?path=/gates.toml"), "gate");
    assert_eq!(
        std::fs::read_to_string(app.path("gates.toml")).unwrap(),
        "gate"
    );
}

#[test]
fn a_component_without_files_sees_none() {
    let host = App::new(&manifest("")).up(&[]);
    host.failure("/file?path=/spin.toml");
    host.failure("/write?path=/x");
}

#[test]
fn a_missing_file_stops_the_start() {
    let error = App::new(&manifest("files = [\"gone.toml\"]\n")).refused(&[]);
    assert!(
        error.contains("spin.toml:9:10: `gone.toml` matches no file"),
        "{error}"
    );
}
