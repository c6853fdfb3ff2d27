//! What is wrong with a template before it is used: functions, fields and templates that do not exist. Pure.
//!
//! Go's structs know their fields, the engine's maps do not: a misspelt `.Hots` would print `<no value>` into the file.
//! So the kind of each value is followed through the template, as far as it can be; what can't be followed (a function's
//! result, the argument of a named template) may have any field.

use std::collections::BTreeSet;
use std::fmt;

use gotmpl::FuncMap;
use gotmpl::parse::{BranchNode, CommandNode, Expr, ListNode, Node, Parser, PipeNode, Pos, SmolStr};

/// Go's own functions.
const BUILTINS: [&str; 19] = [
    "and", "call", "eq", "ge", "gt", "html", "index", "js", "le", "len", "lt", "ne", "not", "or", "print", "printf",
    "println", "slice", "urlquery",
];

/// The fields of a report.
const REPORT: [&str; 9] = [
    "Available",
    "Backup",
    "CreationTime",
    "HaProxyServerOptions",
    "Host",
    "Name",
    "Port",
    "UnavailableReason",
    "Weight",
];

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    line: usize,
    what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.what)
    }
}

/// Everything that is wrong with `text`, or the error of the engine when it can't be parsed.
pub(super) fn faults(name: &str, text: &str, functions: &FuncMap) -> Result<Vec<Fault>, gotmpl::TemplateError> {
    let (main, defines) = Parser::with_name(Some(name), text, "{{", "}}")?.parse()?;
    let mut check = Check {
        functions,
        templates: defines.iter().map(|define| define.name.clone()).collect(),
        variables: vec![("$".into(), Kind::Services)],
        faults: Vec::new(),
    };
    check.list(&main, Kind::Services);
    for define in &defines {
        check.variables = vec![("$".into(), Kind::Any)];
        check.list(&define.body, Kind::Any);
    }
    Ok(check.faults)
}

/// What is known of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The list that a template is given.
    Services,
    /// One report.
    Reported,
    /// Its `.Service`.
    Service,
    /// Its `.Reports`.
    Reports,
    Report,
    Labels,
    /// Text, a number, true or false.
    Plain,
    /// Unknown.
    Any,
}

impl Kind {
    fn words(self) -> &'static str {
        match self {
            Self::Services => "the list of services",
            Self::Reported => "an item of the list, which has `Service` and `Reports`",
            Self::Service => "a service, which has `Name`",
            Self::Reports => "the list of reports",
            Self::Report => "a report",
            Self::Labels => "the labels",
            Self::Plain => "a plain value",
            Self::Any => "a value",
        }
    }

    /// A field of it; `None`: it has no such field.
    fn field(self, name: &str) -> Option<Self> {
        match (self, name) {
            (Self::Any, _) => Some(Self::Any),
            (Self::Reported, "Service") => Some(Self::Service),
            (Self::Reported, "Reports") => Some(Self::Reports),
            (Self::Report, "Labels") => Some(Self::Labels),
            (Self::Service, "Name") | (Self::Labels, _) => Some(Self::Plain),
            (Self::Report, name) if REPORT.contains(&name) => Some(Self::Plain),
            _ => None,
        }
    }

    /// What a `range` over it, or an `index` into it, gives.
    fn element(self) -> Self {
        match self {
            Self::Services => Self::Reported,
            Self::Reports => Self::Report,
            Self::Labels => Self::Plain,
            _ => Self::Any,
        }
    }
}

struct Check<'c> {
    functions: &'c FuncMap,
    templates: BTreeSet<SmolStr>,
    /// Those in scope, the innermost last.
    variables: Vec<(SmolStr, Kind)>,
    faults: Vec<Fault>,
}

impl Check<'_> {
    fn fault(&mut self, at: Pos, what: String) {
        self.faults.push(Fault { line: at.line, what });
    }

    /// A body; its variables end with it.
    fn list(&mut self, list: &ListNode, dot: Kind) {
        let outer = self.variables.len();
        for node in &list.nodes {
            self.node(node, dot);
        }
        self.variables.truncate(outer);
    }

    fn node(&mut self, node: &Node, dot: Kind) {
        match node {
            Node::List(list) => self.list(list, dot),
            Node::Action(action) => {
                let kind = self.pipe(&action.pipe, dot);
                self.bind(&action.pipe, &[kind]);
            }
            Node::If(branch) => self.branch(branch, dot, |_| (dot, Kind::Any, Kind::Any)),
            Node::With(branch) => self.branch(branch, dot, |kind| (kind, kind, kind)),
            Node::Range(branch) => self.branch(branch, dot, |kind| (kind.element(), Kind::Plain, kind.element())),
            Node::Template(call) => {
                if !self.templates.contains(&call.name) {
                    self.fault(call.pos, format!("there is no template {:?}", call.name));
                }
                if let Some(pipe) = &call.pipe {
                    self.pipe(pipe, dot);
                }
            }
            Node::Text(_) | Node::Define(_) | Node::Break(_) | Node::Continue(_) => {}
        }
    }

    /// `inside` returns the dot of the body and, of two declared variables, the first and the last.
    fn branch(&mut self, branch: &BranchNode, dot: Kind, inside: impl Fn(Kind) -> (Kind, Kind, Kind)) {
        let outer = self.variables.len();
        let kind = self.pipe(&branch.pipe, dot);
        let (body, first, last) = inside(kind);
        match branch.pipe.decl.len() {
            2 => self.bind(&branch.pipe, &[first, last]),
            _ => self.bind(&branch.pipe, &[last]),
        }
        self.list(&branch.body, body);
        if let Some(otherwise) = &branch.else_body {
            self.list(otherwise, dot);
        }
        self.variables.truncate(outer);
    }

    /// Declares what `pipe` declares. A variable that is assigned to may hold anything from then on.
    fn bind(&mut self, pipe: &PipeNode, kinds: &[Kind]) {
        for (name, kind) in pipe.decl.iter().zip(kinds) {
            if pipe.is_assign {
                for (_, known) in self.variables.iter_mut().filter(|(known, _)| known == name) {
                    *known = Kind::Any;
                }
            } else {
                self.variables.push((name.clone(), *kind));
            }
        }
    }

    fn pipe(&mut self, pipe: &PipeNode, dot: Kind) -> Kind {
        let mut kind = Kind::Any;
        for (nth, command) in pipe.commands.iter().enumerate() {
            let own = self.command(command, dot);
            kind = if nth == 0 { own } else { Kind::Any };
        }
        kind
    }

    fn command(&mut self, command: &CommandNode, dot: Kind) -> Kind {
        let kinds: Vec<Kind> = command
            .args
            .iter()
            .map(|argument| self.expression(argument, dot))
            .collect();
        match (command.args.as_slice(), kinds.as_slice()) {
            ([_], [only]) => *only,
            ([Expr::Identifier(_, name), _, _], [_, list, _]) if name == "index" => list.element(),
            ([Expr::Identifier(_, name), ..], [_, list, ..]) if name == "slice" => *list,
            _ => Kind::Any,
        }
    }

    fn expression(&mut self, expression: &Expr, dot: Kind) -> Kind {
        match expression {
            Expr::Dot(_) => dot,
            Expr::Field(at, names) => self.fields(*at, dot, names),
            Expr::Variable(at, name, names) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                let kind = known.map_or(Kind::Any, |(_, kind)| *kind);
                self.fields(*at, kind, names)
            }
            Expr::Identifier(at, name) => {
                if !BUILTINS.contains(&name.as_str()) && !self.functions.contains_key(name.as_str()) {
                    self.fault(*at, format!("there is no function `{name}`"));
                }
                Kind::Any
            }
            Expr::String(..) | Expr::Number(..) | Expr::Bool(..) => Kind::Plain,
            Expr::Nil(_) => Kind::Any,
            Expr::Pipe(_, pipe) => self.pipe(pipe, dot),
            Expr::Chain(at, inner, names) => {
                let kind = self.expression(inner, dot);
                self.fields(*at, kind, names)
            }
        }
    }

    fn fields(&mut self, at: Pos, mut kind: Kind, names: &[SmolStr]) -> Kind {
        for name in names {
            let Some(field) = kind.field(name) else {
                self.fault(at, format!("there is no field `{name}` in {}", kind.words()));
                return Kind::Any;
            };
            kind = field;
        }
        kind
    }
}
