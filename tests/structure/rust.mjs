// Just enough of Rust's grammar to see a crate's modules and what they import from each other.

/** The text with comments and literals blanked, line by line as long as it was. */
export function masked(text) {
  const token =
    /\/\/[^\n]*|\/\*|\bb?r(#*)"|\bb?"(?:\\[\s\S]|[^"\\])*"|"(?:\\[\s\S]|[^"\\])*"|\bb?'(?:\\(?:u\{[^}]*\}|x..|.)|[^'\\\n])'|'(?:\\(?:u\{[^}]*\}|x..|.)|[^'\\\n])'/g;
  const blank = (part) => part.replace(/[^\n]/g, ' ');
  let out = '';
  let at = 0;
  for (let match; (match = token.exec(text)); ) {
    let end = token.lastIndex;
    if (match[0] === '/*') {
      // Block comments nest.
      const edge = /\/\*|\*\//g;
      edge.lastIndex = end;
      let depth = 1;
      for (let next; depth > 0 && (next = edge.exec(text)); end = edge.lastIndex) depth += next[0] === '/*' ? 1 : -1;
    } else if (match[1] !== undefined) {
      const close = text.indexOf(`"${match[1]}`, end);
      end = close < 0 ? text.length : close + 1 + match[1].length;
    }
    out += text.slice(at, match.index) + blank(text.slice(match.index, end));
    at = token.lastIndex = end;
  }
  return out + text.slice(at);
}

/** Where the item that begins at `at` ends: behind its `;`, or behind the brace that closes it. */
function itemEnd(code, at) {
  let depth = 0;
  for (let i = at; i < code.length; i++) {
    const c = code[i];
    if ('([{'.includes(c)) depth++;
    else if (')]}'.includes(c)) {
      depth--;
      if (depth === 0 && c === '}') return i + 1;
    } else if (depth === 0 && c === ';') return i + 1;
  }
  return code.length;
}

/** Masked code without items for tests, and the names of the modules that tests alone have. */
export function withoutTests(code) {
  const testModules = new Set();
  const attribute = /#\[cfg\(\s*(?:all\(\s*)?test\b[^\]]*\]/g;
  let out = '';
  let at = 0;
  for (let match; (match = attribute.exec(code)); ) {
    const end = itemEnd(code, attribute.lastIndex);
    const name = /^\s*(?:#\[[^\]]*\]\s*)*(?:pub(?:\([^)]*\))?\s+)?mod\s+(\w+)\s*;$/.exec(code.slice(attribute.lastIndex, end));
    if (name) testModules.add(name[1]);
    out += code.slice(at, match.index) + code.slice(match.index, end).replace(/[^\n]/g, ' ');
    at = attribute.lastIndex = end;
  }
  return { code: out + code.slice(at), testModules };
}

/** The paths of a use tree, each as its segments and the name that it is known by. */
function expand(tree, prefix = []) {
  tree = tree.trim();
  const brace = tree.indexOf('{');
  if (brace < 0) {
    const [path, alias] = tree.split(/\s+as\s+/);
    const segments = [...prefix, ...path.split('::').map((s) => s.trim()).filter(Boolean)];
    if (segments.at(-1) === 'self') segments.pop();
    return [{ segments, name: alias?.trim() ?? segments.at(-1) }];
  }
  const head = tree.slice(0, brace).split('::').map((s) => s.trim()).filter(Boolean);
  const parts = [];
  let depth = 0;
  let from = brace + 1;
  for (let i = brace + 1; i < tree.length; i++) {
    if (tree[i] === '{') depth++;
    else if (depth === 0 && ',}'.includes(tree[i])) {
      parts.push(tree.slice(from, i));
      from = i + 1;
    } else if (tree[i] === '}') depth--;
  }
  return parts.filter((part) => part.trim()).flatMap((part) => expand(part, [...prefix, ...head]));
}

/** What code names: the modules it declares, its use declarations, its own items, and the paths outside of use declarations. */
export function names(code) {
  const modules = [...code.matchAll(/\bmod\s+(\w+)\s*;/g)].map((match) => match[1]);
  const uses = [];
  const rest = code.replace(/(\bpub(?:\([^)]*\))?\s+)?\buse\s+([^;]+);/g, (whole, visible, tree) => {
    for (const path of expand(tree)) uses.push({ ...path, exported: visible !== undefined });
    return whole.replace(/[^\n]/g, ' ');
  });
  const items = new Set([...rest.matchAll(/\b(?:struct|enum|union|trait|fn|type|const|static|macro_rules!)\s+(?:mut\s+)?(\w+)/g)].map((m) => m[1]));
  const paths = [...rest.matchAll(/(?<![\w:])(\w+)((?:::\w+)+)/g)].map((m) => m[0].split('::'));
  // A re-export hands a name on; it also takes it where the code around has it.
  for (const use of uses) use.taken = !use.exported || new RegExp(`\\b${use.name === '*' ? '(?!)' : use.name}\\b`).test(rest);
  return { modules, uses, items, paths };
}
