//! `takt init`

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;
use serde::Serialize;
use takt_client::tls::TrustDomain;

use super::outcome::{Failure, Outcome};
use super::output::{Column, Output, Style, Table, json_line};
use crate::init::{InitError, InitNode, InitOptions, PORT_BASE, run as make};

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// Where; what is there already is kept.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Names of plants to make nodes for.
    #[arg(long = "plant", value_name = "NAME", num_args = 1..)]
    plants: Vec<String>,
    /// Make a hub.
    #[arg(long)]
    hub: bool,
    /// Make certificates, keys and files of the named nodes anew. The authority is kept.
    #[arg(long)]
    force: bool,
    /// The hub's UDP port; plants get the ones behind it.
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = PORT_BASE,
        value_parser = clap::value_parser!(u16).range(1..=65_000)
    )]
    port_base: u16,
    /// The trust domain of all certificates.
    #[arg(long, value_name = "NAME")]
    trust_domain: Option<String>,
}

#[derive(Serialize)]
struct Made {
    node: String,
    listen: String,
    config: PathBuf,
    client: PathBuf,
    operator: PathBuf,
    has_upstream: bool,
}

impl From<&InitNode> for Made {
    fn from(node: &InitNode) -> Self {
        Self {
            node: node.identity.to_string(),
            listen: node.listen.to_string(),
            config: node.config.clone(),
            client: node.client.clone(),
            operator: node.operator.clone(),
            has_upstream: node.has_upstream,
        }
    }
}

pub(super) fn run(args: &InitArgs, output: Output) -> Result<Outcome, Failure> {
    let mut options = InitOptions::new(args.dir.clone(), SystemTime::now());
    options.plants.clone_from(&args.plants);
    options.hub = args.hub;
    options.force = args.force;
    options.port_base = args.port_base;
    if let Some(domain) = &args.trust_domain {
        options.trust_domain =
            TrustDomain::new(domain).map_err(|error| Failure::usage(error.to_string()))?;
    }
    let report = make(&options).map_err(|error| {
        if matches!(error, InitError::Nothing | InitError::Name(_)) {
            Failure::usage(error.to_string())
        } else {
            error.into()
        }
    })?;
    let mut out = io::stdout().lock();
    if output == Output::Json {
        for node in &report.nodes {
            json_line(&mut out, &Made::from(node))?;
        }
        return Ok(Outcome::Done);
    }
    let mut table = Table::new([
        Column::left("NODE"),
        Column::left("LISTENS ON"),
        Column::left("START IT WITH"),
        Column::left("TALK TO IT WITH"),
    ]);
    for node in &report.nodes {
        table.push([
            node.identity.to_string().into(),
            node.listen.to_string().into(),
            format!("takt serve --config {}", node.config.display()).into(),
            format!("--context {}", node.client.display()).into(),
        ]);
    }
    table.write(&mut out, Style::stdout())?;
    writeln!(out, "{} files made, {} kept", report.made.len(), report.kept.len())?;
    let alone = |node: &&InitNode| node.identity.plant().is_some() && !node.has_upstream;
    for node in report.nodes.iter().filter(alone) {
        writeln!(out, "{}: no [upstream], so nothing leaves this plant", node.config.display())?;
    }
    Ok(Outcome::Done)
}
