//! Which resource a path means: `/{tenant}/controller/v1/{device}/…`.

use muster_schemas::{DeviceId, TenantId, firmware::ExecutionId};

use crate::{
    limits::{HISTORY_MAX, PATH_BYTES_MAX},
    problem::Problem,
};

/// How a resource is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// GET, and HEAD where there is no difference for us.
    Get,
    /// HEAD.
    Head,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// Any other.
    Other,
}

/// A path of the interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Whose device it says to be. To be compared with what the connection proved, never trusted.
    pub tenant: TenantId,
    /// Which device it says to be. The same.
    pub device: DeviceId,
    /// What it wants.
    pub resource: Resource,
}

/// What a device asks for or says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// GET: what there is to do.
    Base,
    /// GET: what to install.
    Deployment {
        /// Which.
        id: ExecutionId,
        /// How many messages of its history.
        history: usize,
    },
    /// POST: how it goes.
    DeploymentFeedback(ExecutionId),
    /// GET: what to stop.
    Cancel(ExecutionId),
    /// POST: whether it was stopped.
    CancelFeedback(ExecutionId),
    /// GET: what was installed.
    Installed(ExecutionId),
    /// PUT: what the device says that it runs.
    StateVersion,
    /// PUT: attributes.
    ConfigData,
    /// GET: what waits for a person.
    ConfirmationBase,
    /// GET: what would be installed.
    Confirmation(ExecutionId),
    /// POST: what the person said.
    ConfirmationFeedback(ExecutionId),
    /// POST: from now on without asking, or no more.
    AutoConfirm {
        /// Which of both.
        active: bool,
    },
    /// GET: artifacts of a module.
    Artifacts {
        /// Which.
        module: u32,
    },
    /// GET, HEAD: an artifact.
    Artifact {
        /// Of which module.
        module: u32,
        /// What it is called.
        file: String,
    },
    /// GET: its MD5, as a line of text.
    Md5Sum {
        /// Of which module.
        module: u32,
        /// What it is called.
        file: String,
    },
}

impl Route {
    /// Reads a path with its query. What is not one of ours is 404, what is one and not for that verb 405.
    pub fn parse(verb: Verb, path: &str) -> Result<Self, Problem> {
        const NONE: Problem = Problem::NotFound("resource");
        if path.len() > PATH_BYTES_MAX {
            return Err(NONE);
        }
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let parts: Vec<&str> = path.strip_prefix('/').ok_or(NONE)?.split('/').collect();
        // hawkBit's tenants are written in capitals, ours never.
        let [tenant, "controller", "v1", device, rest @ ..] = parts.as_slice() else { return Err(NONE) };
        let tenant = tenant.to_ascii_lowercase().parse().map_err(|_| Problem::NotFound("tenant"))?;
        let device = device.parse().map_err(|_| Problem::NotFound("device"))?;
        let (allowed, resource) = resource(rest, query).ok_or(NONE)??;
        // What can be asked for can be asked for without its body.
        let fits = allowed == verb || (allowed == Verb::Get && verb == Verb::Head);
        if !fits {
            return Err(Problem::Method);
        }
        Ok(Self { tenant, device, resource })
    }
}

type Found = Result<(Verb, Resource), Problem>;

fn resource(rest: &[&str], query: &str) -> Option<Found> {
    let action = |id: &str| id.parse::<ExecutionId>().map_err(|_| Problem::NotFound("action"));
    let with =
        |id: &str, verb: Verb, make: fn(ExecutionId) -> Resource| Some(action(id).map(|id| (verb, make(id))));
    let found = match rest {
        [] | [""] => (Verb::Get, Resource::Base),
        ["deploymentBase", id] => {
            let history = history(query);
            return Some(action(id).map(|id| (Verb::Get, Resource::Deployment { id, history })));
        }
        ["deploymentBase", id, "feedback"] => return with(id, Verb::Post, Resource::DeploymentFeedback),
        ["cancelAction", id] => return with(id, Verb::Get, Resource::Cancel),
        ["cancelAction", id, "feedback"] => return with(id, Verb::Post, Resource::CancelFeedback),
        ["installedBase"] => (Verb::Put, Resource::StateVersion),
        ["installedBase", id] => return with(id, Verb::Get, Resource::Installed),
        ["configData"] => (Verb::Put, Resource::ConfigData),
        ["confirmationBase"] => (Verb::Get, Resource::ConfirmationBase),
        ["confirmationBase", "activateAutoConfirm"] => (Verb::Post, Resource::AutoConfirm { active: true }),
        ["confirmationBase", "deactivateAutoConfirm"] => {
            (Verb::Post, Resource::AutoConfirm { active: false })
        }
        ["confirmationBase", id] => return with(id, Verb::Get, Resource::Confirmation),
        ["confirmationBase", id, "feedback"] => return with(id, Verb::Post, Resource::ConfirmationFeedback),
        ["softwaremodules", module, "artifacts"] => {
            (Verb::Get, Resource::Artifacts { module: number(module)? })
        }
        ["softwaremodules", module, "artifacts", file] => {
            let (module, file) = (number(module)?, file_name(file)?);
            match file.strip_suffix(".MD5SUM") {
                Some(file) => (Verb::Get, Resource::Md5Sum { module, file: file.to_owned() }),
                None => (Verb::Get, Resource::Artifact { module, file }),
            }
        }
        _ => return None,
    };
    Some(Ok(found))
}

fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// What is called so in our artifacts, with `%` taken away. A name that would leave a folder is none.
fn file_name(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut name = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        name.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                *data_encoding::HEXLOWER_PERMISSIVE.decode(&digits).ok()?.first()?
            }
            byte => byte,
        });
    }
    let name = String::from_utf8(name).ok()?;
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '-' | '~');
    let fits = name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(inner);
    fits.then_some(name)
}

/// `actionHistory=n`; hawkBit's -1 means all.
fn history(query: &str) -> usize {
    let asked = query.split('&').find_map(|pair| pair.strip_prefix("actionHistory="));
    match asked.map(str::parse::<i64>) {
        Some(Ok(-1)) => HISTORY_MAX,
        Some(Ok(count)) => usize::try_from(count).unwrap_or(0).min(HISTORY_MAX),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(verb: Verb, rest: &str) -> Result<Resource, Problem> {
        Route::parse(verb, &format!("/DEFAULT/controller/v1/dev-0{rest}")).map(|route| {
            assert_eq!((route.tenant.as_str(), route.device.as_str()), ("default", "dev-0"));
            route.resource
        })
    }

    #[test]
    fn every_path_of_the_interface_is_found() {
        let id = ExecutionId::new(7).unwrap();
        let (module, file) = (3, "fw+1.swu".to_owned());
        let table = [
            (Verb::Get, "", Resource::Base),
            (Verb::Get, "/", Resource::Base),
            (Verb::Head, "", Resource::Base),
            (Verb::Get, "/deploymentBase/7?c=-2129030598", Resource::Deployment { id, history: 0 }),
            (Verb::Get, "/deploymentBase/7?c=1&actionHistory=10", Resource::Deployment { id, history: 10 }),
            (
                Verb::Get,
                "/deploymentBase/7?actionHistory=-1",
                Resource::Deployment { id, history: HISTORY_MAX },
            ),
            (Verb::Post, "/deploymentBase/7/feedback", Resource::DeploymentFeedback(id)),
            (Verb::Get, "/cancelAction/7", Resource::Cancel(id)),
            (Verb::Post, "/cancelAction/7/feedback", Resource::CancelFeedback(id)),
            (Verb::Get, "/installedBase/7", Resource::Installed(id)),
            (Verb::Put, "/installedBase", Resource::StateVersion),
            (Verb::Put, "/configData", Resource::ConfigData),
            (Verb::Get, "/confirmationBase", Resource::ConfirmationBase),
            (Verb::Get, "/confirmationBase/7?c=2", Resource::Confirmation(id)),
            (Verb::Post, "/confirmationBase/7/feedback", Resource::ConfirmationFeedback(id)),
            (Verb::Post, "/confirmationBase/activateAutoConfirm", Resource::AutoConfirm { active: true }),
            (Verb::Post, "/confirmationBase/deactivateAutoConfirm", Resource::AutoConfirm { active: false }),
            (Verb::Get, "/softwaremodules/3/artifacts", Resource::Artifacts { module }),
            (
                Verb::Head,
                "/softwaremodules/3/artifacts/fw%2B1.swu",
                Resource::Artifact { module, file: file.clone() },
            ),
            (Verb::Get, "/softwaremodules/3/artifacts/fw+1.swu.MD5SUM", Resource::Md5Sum { module, file }),
        ];
        for (verb, path, expected) in table {
            assert_eq!(of(verb, path), Ok(expected), "{path}");
        }
    }

    #[test]
    fn what_is_none_of_ours_is_404_and_another_verb_405() {
        let long = format!("/{}", "x".repeat(PATH_BYTES_MAX));
        let none = [
            "/x",
            "/deploymentBase",
            "/deploymentBase/x",
            "/deploymentBase/0",
            "/deploymentBase/2147483648",
            "/deploymentBase/+7",
            "/deploymentBase/07",
            "/deploymentBase/7/feedback/x",
            "/softwaremodules/x/artifacts",
            "/softwaremodules/3/artifacts/..%2f..%2fetc",
            "/softwaremodules/3/artifacts/%2e%2e",
            "/softwaremodules/3/artifacts/%f",
            "/softwaremodules/3/artifacts/a%00",
            &long,
        ];
        for path in none {
            let found = of(Verb::Get, path);
            assert!(matches!(found, Err(Problem::NotFound(_))), "{path}: {found:?}");
        }
        for (verb, path) in [
            (Verb::Post, ""),
            (Verb::Get, "/configData"),
            (Verb::Get, "/deploymentBase/7/feedback"),
            (Verb::Other, "/deploymentBase/7"),
            (Verb::Put, "/installedBase/7"),
            (Verb::Get, "/installedBase"),
        ] {
            assert_eq!(of(verb, path), Err(Problem::Method), "{path}");
        }
        for path in
            ["", "/", "/a/controller/v1", "/a/controller/v2/d", "/a_b/controller/v1/d", "a/controller/v1/d"]
        {
            assert!(Route::parse(Verb::Get, path).is_err(), "{path}");
        }
    }
}
