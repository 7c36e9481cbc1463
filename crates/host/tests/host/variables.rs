use crate::harness::{App, EVERYTHING, PROBE};

fn app() -> App {
    App::new(&format!(
        "{EVERYTHING}[variables]\nkey = {{ required = true, secret = true }}\nname = {{ default = \"world\" }}\n\
         {PROBE}environment = {{ MODE = \"fast\" }}\n\
         [component.probe.variables]\ngreeting = \"hello {{{{ name }}}}!\"\nsecret = \"{{{{ key }}}}\"\n"
    ))
}

#[test]
fn a_component_sees_its_own_variables_expanded() {
    let app = app();
    app.write("key", "from a file\n");
    let host = app.up(&["--variable", "key=@key", "--variable", "name=there"]);
    assert_eq!(host.ok("/variable?name=greeting"), "hello there!");
    assert_eq!(host.ok("/variable?name=secret"), "from a file");
    assert_eq!(host.ok("/config?name=greeting"), "Some(\"hello there!\")");
    assert_eq!(host.ok("/config?name=none"), "None");
    assert_eq!(host.ok("/environment?name=MODE"), "fast");
    // The application's own variables are not the component's.
    assert!(host.failure("/variable?name=key").contains("Undefined"));
    assert!(host.failure("/variable?name=No").contains("InvalidName"));
    assert!(!host.errors().contains("from a file"), "{}", host.errors());
}

#[test]
fn the_environment_gives_variables_and_not_itself() {
    let host = app().up_with_environment(&[], "SPIN_VARIABLE_KEY", "from outside");
    assert_eq!(host.ok("/variable?name=secret"), "from outside");
    assert_eq!(host.ok("/variable?name=greeting"), "hello world!");
    host.failure("/environment?name=SPIN_VARIABLE_KEY");
    host.failure("/environment?name=PATH");
}

#[test]
fn a_missing_value_stops_the_start_and_says_how_to_give_it() {
    let error = app().refused(&[]);
    assert!(
        error.contains("`key`") && error.contains("--variable") && error.contains("SPIN_VARIABLE_"),
        "{error}"
    );
    let error = app().refused(&["--variable", "key=x", "--variable", "typo=x"]);
    assert!(error.contains("typo"), "{error}");
}
