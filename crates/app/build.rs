//! Embeds the description of the API without its white space, a third of it.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let source = "assets/openapi.json";
    println!("cargo::rerun-if-changed={source}");
    let description: serde_json::Value = serde_json::from_str(&fs::read_to_string(source)?)?;
    fs::write(
        Path::new(&env::var("OUT_DIR")?).join("openapi.json"),
        description.to_string(),
    )?;
    Ok(())
}
