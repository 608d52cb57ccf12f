//! `omnid user …`, through the running daemon or, where none runs, on the store itself.

use std::process::ExitCode;

use omnid_admin::{Client, ClientError};
use omnid_hub::ControlError;
use omnid_identity::{Address, Identity, Role};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{CommandError, Context, Outcome, control, out, password, print, runtime};
use crate::{
    cli::{AppPassword, Extension, User},
    data_directory,
    root::Root,
};

/// The verbs of this file, for the control socket.
pub const VERBS: [&str; 13] = [
    "user.add",
    "user.passwd",
    "user.list",
    "user.remove",
    "user.enable",
    "user.disable",
    "user.app_password.add",
    "user.app_password.list",
    "user.app_password.remove",
    "user.extension.add",
    "user.extension.list",
    "user.extension.remove",
    "user.audit",
];

#[derive(Deserialize)]
struct Arguments {
    #[serde(default)]
    address: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    domain: Option<String>,
    #[serde(default)]
    label: Option<String>,
    #[serde(default)]
    number: Option<String>,
    #[serde(default)]
    id: Option<i64>,
    #[serde(default)]
    limit: Option<u32>,
}

/// Carries out one of [`VERBS`].
///
/// # Errors
/// Words for the operator.
pub async fn carry_out(
    identity: &Identity,
    verb: &str,
    arguments: Value,
) -> Result<Value, ControlError> {
    let arguments = match arguments {
        Value::Null => json!({}),
        arguments => arguments,
    };
    let arguments: Arguments = serde_json::from_value(arguments)?;
    fn said(error: impl std::fmt::Display) -> ControlError {
        ControlError::new(error.to_string())
    }
    let address = || -> Result<Address, ControlError> {
        let text = arguments.address.as_deref().unwrap_or_default();
        text.parse()
            .map_err(|error| ControlError::new(format!("\"{text}\": {error}")))
    };
    let password = || {
        arguments
            .password
            .clone()
            .ok_or_else(|| ControlError::new("a password is needed"))
    };
    let label = || {
        arguments
            .label
            .clone()
            .ok_or_else(|| ControlError::new("a label is needed"))
    };
    let number = || {
        arguments
            .number
            .clone()
            .ok_or_else(|| ControlError::new("a number is needed"))
    };
    let domain = || {
        arguments
            .domain
            .as_deref()
            .map(str::to_ascii_lowercase)
            .ok_or_else(|| ControlError::new("a domain is needed"))
    };
    match verb {
        "user.add" => {
            let roles = arguments
                .roles
                .iter()
                .map(|role| {
                    Role::from_name(role).ok_or_else(|| {
                        let names = Role::ALL.map(Role::name).join(", ");
                        ControlError::new(format!("\"{role}\" is no role; these are: {names}"))
                    })
                })
                .collect::<Result<Vec<_>, _>>()?;
            let address = address()?;
            identity
                .create(&address, &password()?, roles.as_slice())
                .await
                .map_err(said)?;
            Ok(json!({"address": address.to_string()}))
        }
        "user.passwd" => {
            let address = address()?;
            identity
                .set_password(&address, &password()?)
                .await
                .map_err(said)?;
            Ok(json!({"address": address.to_string()}))
        }
        "user.list" => {
            let accounts = identity
                .list(arguments.domain.as_deref())
                .await
                .map_err(said)?;
            Ok(serde_json::to_value(accounts)?)
        }
        "user.remove" => {
            identity.remove(&address()?).await.map_err(said)?;
            Ok(Value::Null)
        }
        "user.enable" | "user.disable" => {
            identity
                .set_enabled(&address()?, verb == "user.enable")
                .await
                .map_err(said)?;
            Ok(Value::Null)
        }
        "user.app_password.add" => {
            let made = identity
                .create_app_password(&address()?, &label()?)
                .await
                .map_err(said)?;
            Ok(json!({"password": made}))
        }
        "user.app_password.list" => {
            let labels = identity.app_passwords(&address()?).await.map_err(said)?;
            Ok(serde_json::to_value(labels)?)
        }
        "user.app_password.remove" => {
            let id = arguments
                .id
                .ok_or_else(|| ControlError::new("an id is needed"))?;
            identity
                .revoke_app_password(&address()?, id)
                .await
                .map_err(said)?;
            Ok(Value::Null)
        }
        "user.extension.add" => {
            let address = address()?;
            identity
                .add_extension(&number()?, &address)
                .await
                .map_err(said)?;
            Ok(Value::Null)
        }
        "user.extension.list" => {
            let all = identity.extensions(&domain()?).await.map_err(said)?;
            let rows = all
                .iter()
                .map(|(number, account)| json!({"number": number, "address": account.to_string()}));
            Ok(rows.collect())
        }
        "user.extension.remove" => {
            identity
                .remove_extension(&domain()?, &number()?)
                .await
                .map_err(said)?;
            Ok(Value::Null)
        }
        "user.audit" => {
            let entries = identity
                .audit(arguments.limit.unwrap_or(50))
                .await
                .map_err(said)?;
            Ok(serde_json::to_value(entries)?)
        }
        _ => Err(ControlError::new(format!("no such verb: {verb}"))),
    }
}

pub(super) fn run(context: &Context, command: User) -> Outcome {
    match command {
        User::Add {
            address,
            stdin,
            generate,
            roles,
        } => {
            let secret = password::obtain(stdin, generate)?;
            let arguments = json!({"address": address, "password": secret.text, "roles": roles});
            let answer = perform(context, "user.add", arguments)?;
            done(context, &answer, &secret, "added")
        }
        User::Passwd {
            address,
            stdin,
            generate,
        } => {
            let secret = password::obtain(stdin, generate)?;
            let arguments = json!({"address": address, "password": secret.text});
            let answer = perform(context, "user.passwd", arguments)?;
            done(context, &answer, &secret, "changed")
        }
        User::List { domain } => {
            let columns = [
                ("ADDRESS", "address"),
                ("ROLES", "roles"),
                ("ENABLED", "enabled"),
                ("CREATED", "created_at"),
            ];
            list(context, "user.list", json!({"domain": domain}), &columns)
        }
        User::Remove { address } => silently(context, "user.remove", json!({"address": address})),
        User::Enable { address } => silently(context, "user.enable", json!({"address": address})),
        User::Disable { address } => silently(context, "user.disable", json!({"address": address})),
        User::AppPassword(AppPassword::Add { address, label }) => {
            let arguments = json!({"address": address, "label": label});
            let answer = perform(context, "user.app_password.add", arguments)?;
            if context.json {
                out(&answer)?;
            } else {
                out(print::text(answer.get("password")))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        User::AppPassword(AppPassword::List { address }) => {
            let columns = [
                ("ID", "id"),
                ("LABEL", "label"),
                ("CREATED", "created_at"),
                ("LAST USED", "used_at"),
            ];
            list(
                context,
                "user.app_password.list",
                json!({"address": address}),
                &columns,
            )
        }
        User::AppPassword(AppPassword::Remove { address, id }) => silently(
            context,
            "user.app_password.remove",
            json!({"address": address, "id": id}),
        ),
        User::Extension(Extension::Add { address, number }) => silently(
            context,
            "user.extension.add",
            json!({"address": address, "number": number}),
        ),
        User::Extension(Extension::List { domain }) => {
            let columns = [("NUMBER", "number"), ("ADDRESS", "address")];
            let arguments = json!({"domain": domain});
            list(context, "user.extension.list", arguments, &columns)
        }
        User::Extension(Extension::Remove { domain, number }) => silently(
            context,
            "user.extension.remove",
            json!({"domain": domain, "number": number}),
        ),
        User::Audit { limit } => {
            let columns = [
                ("AT", "at"),
                ("EVENT", "event"),
                ("WHO", "subject"),
                ("SOURCE", "source"),
                ("SERVICE", "service"),
                ("DETAIL", "detail"),
            ];
            list(context, "user.audit", json!({"limit": limit}), &columns)
        }
    }
}

fn done(context: &Context, answer: &Value, secret: &password::Secret, what: &str) -> Outcome {
    if context.json {
        let mut answer = answer.clone();
        if let (Some(object), true) = (answer.as_object_mut(), secret.generated) {
            object.insert("password".to_owned(), json!(secret.text));
        }
        out(&answer)?;
    } else {
        out(format_args!(
            "{what} {}",
            print::text(answer.get("address"))
        ))?;
        if secret.generated {
            out(format_args!("password: {}", secret.text))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(context: &Context, verb: &str, arguments: Value, columns: &[print::Column]) -> Outcome {
    let answer = perform(context, verb, arguments)?;
    if context.json {
        out(&answer)?;
    } else {
        let rows = answer.as_array().map(Vec::as_slice).unwrap_or_default();
        out(print::table(rows, columns).trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn silently(context: &Context, verb: &str, arguments: Value) -> Outcome {
    let answer = perform(context, verb, arguments)?;
    if context.json {
        out(&answer)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks the daemon; where none runs, works on the store that the configuration names, so that the
/// first account can be made before the first start.
fn perform(context: &Context, verb: &str, arguments: Value) -> Result<Value, CommandError> {
    match Client::connect(&control::socket(context)) {
        Ok(mut client) => Ok(client.call(verb, arguments)?),
        Err(ClientError::Unreachable { .. }) if context.socket.is_none() => {
            offline(context, verb, arguments)
        }
        Err(error) => Err(error.into()),
    }
}

fn offline(context: &Context, verb: &str, arguments: Value) -> Result<Value, CommandError> {
    let loaded = omnid_config::load::<Root>(&context.config)
        .map_err(|report| format!("no daemon runs, and:\n{}", report.render(false)))?;
    let root = loaded.value;
    runtime()?.block_on(async {
        data_directory::create(&root.server.data_dir)?;
        let database = omnid_store::Database::open(&root.store, &root.server.data_dir).await?;
        let hub = omnid_hub::Hub::new();
        let identity = Identity::open(&root.identity, database.clone(), hub).await?;
        let answer = carry_out(&identity, verb, arguments).await?;
        database.close().await;
        data_directory::hand_over(&root.server.data_dir)?;
        Ok(answer)
    })
}
