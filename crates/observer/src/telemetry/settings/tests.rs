use std::ffi::OsString;

use insta::assert_snapshot;
use reqwest::header::AUTHORIZATION;

use super::*;
use crate::Config;

fn resolve(telemetry: &str, variables: &[(&str, &str)]) -> Settings {
    let config = Config::parse(&format!("[telemetry]\n{telemetry}")).unwrap();
    let environment = |name: &str| -> Option<OsString> {
        variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
    };
    Settings::resolve(&config.telemetry, &environment)
}

fn urls(settings: &Settings) -> Vec<String> {
    settings.targets.values().map(|target| target.url.to_string()).collect()
}

const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/otlp/");

#[test]
fn nothing_said_is_off() {
    assert_eq!(resolve("", &[]).targets.len(), 0);
    assert_eq!(
        resolve("protocol = 'grpc'\nsample = 0.5", &[("OTEL_SERVICE_NAME", "x")]).targets.len(),
        0
    );
    assert_eq!(
        resolve("", &[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]).targets.len(),
        0,
        "empty is unset"
    );
}

#[test]
fn an_endpoint_gets_the_paths_of_the_signals_over_http_alone() {
    let expected = ["traces", "metrics", "logs"]
        .map(|signal| format!("http://collector:4318/otlp/v1/{signal}"));
    assert_eq!(urls(&resolve("", &[ENDPOINT])), expected);
    assert_eq!(urls(&resolve("endpoint = 'http://collector:4318/otlp'", &[])), expected);
    assert_eq!(
        urls(&resolve("endpoint = 'http://h:4317'\nprotocol = 'grpc'\nsignals = ['logs']", &[])),
        ["http://h:4317/"]
    );
    let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://h/spans");
    assert_eq!(urls(&resolve("", &[own])), ["http://h/spans"], "the others have none");
    assert_eq!(urls(&resolve("signals = ['traces']", &[own, ENDPOINT])), ["http://h/spans"]);
    let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let bare = ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "collector:4317");
    assert_eq!(urls(&resolve("", &[grpc, bare])), ["https://collector:4317/"]);
    assert_eq!(
        urls(&resolve("", &[grpc, bare, ("OTEL_EXPORTER_OTLP_INSECURE", "true")])),
        ["http://collector:4317/"]
    );
}

#[test]
fn at_grpcs_own_port_the_file_means_grpc_unless_it_says_otherwise() {
    let protocol = |telemetry: &str, variables: &[(&str, &str)]| {
        resolve(telemetry, variables).targets[&Signal::Traces].protocol
    };
    assert_eq!(protocol("endpoint = 'http://h:4317'", &[]), Protocol::Grpc);
    assert_eq!(
        protocol("endpoint = 'http://h:4317'\nprotocol = 'http/protobuf'", &[]),
        Protocol::Http
    );
    let http = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    assert_eq!(protocol("endpoint = 'http://h:4317'", &[http]), Protocol::Http);
    assert_eq!(protocol("endpoint = 'http://h'", &[]), Protocol::Http);
    let variable = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h:4317");
    assert_eq!(protocol("", &[variable]), Protocol::Http, "the specification has it so");
}

#[test]
fn a_key_of_the_file_stands_before_its_variable_and_before_no_other() {
    let variables = [
        ENDPOINT,
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20t0p,x-team=a"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "3000"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "5000"),
        ("OTEL_TRACES_SAMPLER", "always_off"),
        ("OTEL_SERVICE_NAME", "mine"),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "service.name=other,team=a%2Cb,deployment.environment.name=test",
        ),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),
    ];
    let settings = resolve("", &variables);
    let target = &settings.targets[&Signal::Traces];
    assert_eq!((target.protocol, target.compression), (Protocol::Grpc, Compression::Gzip));
    assert_eq!(target.headers[AUTHORIZATION], "Bearer t0p");
    assert_eq!(target.headers["x-team"], "a");
    assert_eq!(
        (target.timeout, settings.interval),
        (Duration::from_secs(3), Duration::from_secs(5))
    );
    assert_eq!(format!("{:?}", settings.sampler), "AlwaysOff");
    assert_eq!(
        (settings.resource["service.name"].as_str(), settings.resource["team"].as_str()),
        ("mine", "a,b")
    );
    assert_eq!((settings.max_spans, settings.max_logs), (10, QUEUE));
    assert!(!format!("{settings:?}").contains("t0p"));

    let file = "
        endpoint = 'https://other'
        protocol = 'http/protobuf'
        headers = { x-team = 'b' }
        compression = 'none'
        interval = '7s'
        sample = 0.25
        resource = { 'deployment.environment.name' = 'prod' }
    ";
    let settings = resolve(file, &variables);
    let target = &settings.targets[&Signal::Traces];
    assert_eq!((target.url.as_str(), target.protocol), ("https://other/v1/traces", Protocol::Http));
    assert_eq!(target.headers["x-team"], "b");
    assert_eq!(target.headers.len(), 1, "headers are one key");
    assert_eq!((target.compression, target.timeout), (Compression::None, Duration::from_secs(3)));
    assert_eq!(settings.interval, Duration::from_secs(7));
    assert_eq!(format!("{:?}", settings.sampler), "ParentBased(TraceIdRatioBased(0.25))");
    let resource = ["service.name", "deployment.environment.name", "team"]
        .map(|key| settings.resource[key].as_str());
    assert_eq!(resource, ["mine", "prod", "a,b"]);
    assert_eq!(settings.ignored, Vec::<String>::new());
}

#[test]
fn a_signals_own_variable_stands_before_the_general_one() {
    let settings = resolve(
        "",
        &[
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "1"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"),
            ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "b=2"),
            ("OTEL_TRACES_EXPORTER", "none"),
        ],
    );
    assert_eq!(
        settings.to_string(),
        "metrics to http://collector:4318 (grpc); logs to http://collector:4318 (http/protobuf)"
    );
    assert_eq!(settings.targets[&Signal::Metrics].timeout, Duration::from_millis(1));
    assert!(settings.targets[&Signal::Metrics].headers.contains_key("a"));
    let logs = &settings.targets[&Signal::Logs].headers;
    assert_eq!(logs["b"], "2");
    assert_eq!(logs.len(), 1);
}

#[test]
fn the_sdk_can_be_switched_off_altogether() {
    assert_eq!(resolve("endpoint = 'http://h'", &[("OTEL_SDK_DISABLED", "True")]).targets.len(), 0);
    assert_eq!(resolve("endpoint = 'http://h'", &[("OTEL_SDK_DISABLED", "no")]).targets.len(), 3);
}

#[test]
fn files_for_tls_come_from_variables_where_the_file_says_nothing() {
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://h"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "ca.pem"),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "cert.pem"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "key.pem"),
    ];
    let tls = |telemetry: &str| resolve(telemetry, &variables).targets[&Signal::Logs].tls.clone();
    let Tls { ca, cert, key, .. } = tls("");
    assert_eq!([ca, cert, key], ["ca.pem", "cert.pem", "key.pem"].map(|path| Some(path.into())));
    let Tls { ca, cert, .. } = tls("tls = { ca = 'other.pem' }");
    assert_eq!([ca, cert], [Some("other.pem".into()), None]);
}

#[test]
fn a_variable_that_can_not_be_is_ignored_and_told_without_its_value() {
    let settings = resolve(
        "",
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://hidden@h"),
            ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://h"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "hidden"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "0"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
            ("OTEL_TRACES_SAMPLER_ARG", "2"),
            ("OTEL_RESOURCE_ATTRIBUTES", "=x"),
        ],
    );
    assert_eq!(settings.targets.keys().collect::<Vec<_>>(), [&Signal::Logs]);
    assert_eq!(settings.targets[&Signal::Logs].timeout, TIMEOUT);
    let told = settings.ignored.join("\n");
    assert!(!told.contains("hidden"), "{told}");
    assert_snapshot!(told, @r#"
    the variable OTEL_EXPORTER_OTLP_PROTOCOL is ignored: it can be "http/protobuf" or "grpc" here
    the variable OTEL_EXPORTER_OTLP_COMPRESSION is ignored: it can be "gzip" or "none" here
    the variable OTEL_EXPORTER_OTLP_ENDPOINT is ignored: it must not hold a user or a password; what says who you are goes into `headers`
    the variable OTEL_EXPORTER_OTLP_TIMEOUT is ignored: it must be a whole number of at least 1
    the variable OTEL_EXPORTER_OTLP_HEADERS is ignored: it must be NAME=VALUE, with commas between several, and percent signs for all that is special
    the variable OTEL_METRIC_EXPORT_INTERVAL is ignored: it must be a whole number of at least 1
    the variable OTEL_TRACES_SAMPLER_ARG is ignored: it must be between 0.0 and 1.0
    the variable OTEL_TRACES_SAMPLER is ignored: it can be "always_on", "always_off" or "traceidratio" here, each also after "parentbased_"
    the variable OTEL_RESOURCE_ATTRIBUTES is ignored: it must be KEY=VALUE, with commas between several
    "#);
    let elsewhere = resolve(
        "",
        &[("OTEL_TRACES_SAMPLER", "jaeger_remote"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")],
    );
    assert_eq!(
        elsewhere.ignored,
        Vec::<String>::new(),
        "without an endpoint they are none of our business"
    );
    assert_eq!(resolve("", &[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector")]).ignored.len(), 1);
}
