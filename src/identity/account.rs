//! What is known of an account, apart from its password.

use std::fmt;

use crate::Address;

/// One person's (or one machine's) account.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Account {
    /// Its address.
    pub address: Address,
    /// What to show people; may be empty.
    pub display_name: String,
    /// Whether it may log in.
    pub enabled: bool,
    /// What it may do.
    pub roles: Roles,
    /// When it was made, in seconds since 1970.
    pub created_at: i64,
    /// When its password was last set, in seconds since 1970.
    pub password_changed_at: i64,
}

impl Account {
    /// Whether it may change accounts and settings of `domain`.
    pub fn administers(&self, domain: &str) -> bool {
        self.enabled
            && (self.roles.has(Role::Admin)
                || self.roles.has(Role::DomainAdmin) && self.address.domain() == domain)
    }
}

/// Something an account may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Use the services.
    User,
    /// Administer the domain of its own address.
    DomainAdmin,
    /// Administer everything.
    Admin,
}

impl Role {
    /// Every role, the least first.
    pub const ALL: [Self; 3] = [Self::User, Self::DomainAdmin, Self::Admin];

    /// The role's name, as the command line and the database write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::DomainAdmin => "domain-admin",
            Self::Admin => "admin",
        }
    }

    /// The role of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of roles.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Roles(u8);

impl Roles {
    /// Whether `role` is among them.
    pub fn has(self, role: Role) -> bool {
        self.0 & role.bit() != 0
    }

    /// These and `role`.
    #[must_use]
    pub fn with(self, role: Role) -> Self {
        Self(self.0 | role.bit())
    }

    /// The roles, the least first.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.has(*role))
    }

    pub(crate) fn to_text(self) -> String {
        self.iter().map(Role::name).collect::<Vec<_>>().join(" ")
    }

    /// Roles that a newer omnid may know and this one does not are left out.
    pub(crate) fn from_text(text: &str) -> Self {
        text.split_whitespace()
            .filter_map(Role::from_name)
            .collect()
    }
}

impl From<Role> for Roles {
    fn from(role: Role) -> Self {
        Self::default().with(role)
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        roles.into_iter().fold(Self::default(), Self::with)
    }
}

impl<const N: usize> From<[Role; N]> for Roles {
    fn from(roles: [Role; N]) -> Self {
        roles.into_iter().collect()
    }
}

impl From<&[Role]> for Roles {
    fn from(roles: &[Role]) -> Self {
        roles.iter().copied().collect()
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl serde::Serialize for Roles {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}
