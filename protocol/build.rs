//! Compiles the schema of the control messages; needs no `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/takt.proto");
    let schema = protox::compile(["proto/takt.proto"], ["proto"])?;
    let mut config = prost_build::Config::new();
    config.bytes(["."]).btree_map(["."]);
    config.boxed(".takt.v1.Control.body.admin_response");
    config.boxed(".takt.v1.AdminResponse.body.conflict");
    config.compile_fds(schema)?;
    Ok(())
}
