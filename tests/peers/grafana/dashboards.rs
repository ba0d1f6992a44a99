//! The files of the dashboards.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{example, read, run};
use crate::documentation::anchors;
use crate::support::has_packages;

pub(super) const NAMES: [&str; 2] = ["outcomes", "pipeline"];

/// Returns a dashboard.
pub(super) fn dashboard(name: &str) -> Value {
    serde_json::from_str(&read(&format!("dashboards/{name}.json"))).unwrap()
}

/// Returns the panels of a dashboard, without its rows.
pub(super) fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    panels.filter(|panel| panel["type"] != "row")
}

/// Returns the queries of a panel.
pub(super) fn expressions(panel: &Value) -> Vec<&str> {
    let targets = panel["targets"].as_array().map_or(&[][..], Vec::as_slice);
    targets.iter().map(|target| target["expr"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn dashboards_equal_what_the_program_writes() {
    if has_packages("grafana_foundation_sdk") {
        run("python3", &["generator", "--check"]).await;
    }
}

#[test]
fn every_panel_has_a_unit_a_description_and_links() {
    for name in NAMES {
        let dashboard = dashboard(name);
        let mut titles = BTreeSet::new();
        for panel in panels(&dashboard) {
            let title = panel["title"].as_str().unwrap();
            assert!(titles.insert(title), "{name} has two panels {title}");
            let description = panel["description"].as_str().unwrap_or_default();
            assert!(description.len() > 30, "{title}: {description:?}");
            let links = panel["links"].as_array().unwrap();
            assert!(!links.is_empty(), "{title} has no link");
            if panel["type"] == "text" {
                continue;
            }
            // The columns of a table have units of their own.
            let overrides = panel["fieldConfig"]["overrides"].as_array();
            let units = overrides.map_or(0, |overrides| {
                let properties =
                    overrides.iter().flat_map(|one| one["properties"].as_array().unwrap());
                properties.filter(|property| property["id"] == "unit").count()
            });
            let has_unit = panel["fieldConfig"]["defaults"]["unit"].is_string();
            assert!(has_unit || units == expressions(panel).len(), "{title} has no unit");
        }
        assert!(titles.len() > 20, "{titles:?}");
    }
}

#[test]
fn dashboards_name_no_data_source_and_link_to_each_other() {
    for name in NAMES {
        let dashboard = dashboard(name);
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        let names: Vec<_> = variables.iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(names[..3], ["datasource", "job", "instance"]);
        assert_eq!(names.contains(&"source") && names.contains(&"model"), name == "outcomes");
        assert_eq!(dashboard["links"][0]["tags"], dashboard["tags"]);
        assert_eq!(dashboard["links"][0]["includeVars"], true);
        assert_data_sources(&dashboard);
    }
}

#[test]
fn links_of_panels_lead_to_pages_and_headings_of_the_documentation() {
    let mut count = 0;
    for name in NAMES {
        let dashboard = dashboard(name);
        let links = panels(&dashboard).flat_map(|panel| panel["links"].as_array().unwrap());
        let links = links.chain(dashboard["links"].as_array().unwrap());
        for url in links.filter_map(|link| link["url"].as_str()) {
            let Some((_, page)) = url.split_once("/docs/") else {
                assert!(url.starts_with("/d/observer-"), "{url}");
                continue;
            };
            count += 1;
            let (page, fragment) = page.split_once('#').unwrap_or((page, ""));
            let anchors = anchors(example("../../crates/observer/docs").join(page));
            assert!(fragment.is_empty() || anchors.contains(fragment), "{url}: {anchors:?}");
        }
    }
    assert!(count > 50, "{count} links");
}

/// Asserts that each data source is the variable.
fn assert_data_sources(value: &Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if name == "datasource" {
                    assert_eq!(member["uid"], "${datasource}");
                }
                assert_data_sources(member);
            }
        }
        Value::Array(elements) => elements.iter().for_each(assert_data_sources),
        _ => {}
    }
}
