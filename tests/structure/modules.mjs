// Checks two rules of the crates: no modules import each other in a circle, and no file has more than 500 lines of code,
// tests aside. A module and its own submodules may import each other. Prints what breaks a rule, and exits with 1 if
// anything does. The repository is this one, or the folder that is named.
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { masked, names, withoutTests } from './rust.mjs';

const folder = path.dirname(fileURLToPath(import.meta.url));

const MAX_LINES = 500;
const root = path.resolve(process.argv[2] ?? path.join(folder, '../..'));
const relative = (file) => path.relative(root, file);

/** All modules of the crate whose root is `file`, by path: `crate`, `crate::a`, `crate::a::b`. */
function crateOf(file) {
  const modules = new Map();
  const visit = (name, file, folder) => {
    const { code, testModules } = withoutTests(masked(readFileSync(file, 'utf8')));
    const module = { name, file, code, ...names(code), children: new Set() };
    modules.set(name, module);
    for (const child of module.modules) {
      if (testModules.has(child)) continue;
      const found = [path.join(folder, `${child}.rs`), path.join(folder, child, 'mod.rs')].find(existsSync);
      if (!found) continue; // Made by a build script, or placed by an attribute.
      module.children.add(child);
      visit(`${name}::${child}`, found, path.join(folder, child));
    }
  };
  visit('crate', file, path.dirname(file));
  return modules;
}

/** The module that defines what `segments` name as seen from `from`; nothing if that is another crate's. */
function resolve(modules, from, segments, seen = new Set()) {
  const key = `${from} ${segments.join('::')}`;
  if (segments.length === 0 || seen.has(key)) return undefined;
  seen.add(key);
  let [first, ...rest] = segments;
  let at;
  if (first === 'crate') at = 'crate';
  else if (first === 'self') at = from;
  else if (first === 'super') {
    at = from;
    for (rest = segments; rest[0] === 'super'; rest = rest.slice(1)) at = at.slice(0, Math.max(at.lastIndexOf('::'), 0));
  } else if (modules.get(from).children.has(first)) at = `${from}::${first}`;
  else return undefined;
  while (rest.length > 0 && modules.get(at)?.children.has(rest[0])) {
    at += `::${rest[0]}`;
    rest = rest.slice(1);
  }
  const module = modules.get(at);
  if (!module || rest.length === 0 || module.items.has(rest[0])) return module && at;
  // What it does not define it may have from elsewhere.
  for (const use of module.uses) {
    if (use.name === rest[0]) return resolve(modules, at, use.segments, seen);
  }
  for (const use of module.uses.filter((use) => use.name === '*')) {
    const target = resolve(modules, at, [...use.segments.slice(0, -1), rest[0]], seen);
    if (target && modules.get(target).items.has(rest[0])) return target;
  }
  return at;
}

/** What each module takes from which other one: module → module → names. */
function imports(modules) {
  const arrows = new Map();
  for (const [name, module] of modules) {
    const targets = new Map();
    const taken = [...module.uses.filter((use) => use.taken).map((use) => use.segments), ...module.paths];
    for (const segments of taken) {
      const target = resolve(modules, name, segments);
      if (!target || target === name) continue;
      if (!targets.has(target)) targets.set(target, new Set());
      targets.get(target).add(segments.at(-1));
    }
    arrows.set(name, targets);
  }
  return arrows;
}

/** The sets of modules that reach each other (Tarjan). */
function circles(arrows) {
  const found = [];
  const index = new Map();
  const low = new Map();
  const stack = [];
  const visit = (at) => {
    index.set(at, index.size);
    low.set(at, index.get(at));
    stack.push(at);
    for (const to of arrows.get(at).keys()) {
      if (!index.has(to)) visit(to);
      if (stack.includes(to)) low.set(at, Math.min(low.get(at), low.get(to)));
    }
    if (low.get(at) !== index.get(at)) return;
    const circle = stack.splice(stack.indexOf(at));
    const top = circle.reduce((a, b) => (a.length <= b.length ? a : b));
    if (!circle.every((module) => module === top || module.startsWith(`${top}::`))) found.push(circle);
  };
  for (const at of arrows.keys()) if (!index.has(at)) visit(at);
  return found;
}

// What is known and not resolved yet, one line each: it may go, and nothing may come. A line that is no longer true fails too.
const knownFile = path.join(root, 'tests/structure/known.txt');
const known = new Set(existsSync(knownFile) ? readFileSync(knownFile, 'utf8').split('\n').filter(Boolean) : []);

let failed = 0;
for (const area of ['crates', 'components'].filter((area) => existsSync(path.join(root, area)))) {
  for (const name of readdirSync(path.join(root, area)).sort()) {
    const sources = path.join(root, area, name, 'src');
    for (const file of ['lib.rs', 'main.rs'].map((file) => path.join(sources, file)).filter(existsSync)) {
      const modules = crateOf(file);
      const arrows = imports(modules);
      for (const circle of circles(arrows)) {
        if (known.delete(`${relative(file)}: circle of ${circle.toSorted().join(' ')}`)) continue;
        failed++;
        console.log(`${relative(file)}: ${circle.length} modules import each other in a circle`);
        for (const from of circle) {
          for (const [to, names] of arrows.get(from)) {
            if (circle.includes(to)) console.log(`  ${from} -> ${to}: ${[...names].slice(0, 6).join(', ')}`);
          }
        }
      }
      for (const module of modules.values()) {
        const lines = module.code.split('\n').filter((line) => line.trim()).length;
        if (lines > MAX_LINES) {
          if (known.delete(`${relative(module.file)}: more than ${MAX_LINES} lines`)) continue;
          failed++;
          console.log(`${relative(module.file)}: ${lines} lines of code, and at most ${MAX_LINES} are allowed`);
        }
      }
    }
  }
}
for (const gone of known) {
  failed++;
  console.log(`tests/structure/known.txt names what is no longer so, remove the line: ${gone}`);
}
if (failed > 0) {
  console.log(`${failed} problems of structure`);
  process.exit(1);
}
