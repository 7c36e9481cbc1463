// Checks that links between pages lead somewhere: each relative link of a Markdown file to a file or folder that git knows,
// and to a heading where it names one; and each docs/….md that code or a script mentions to a page. Prints what leads
// nowhere, and exits with 1 if anything does.
import { execFileSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const folder = path.dirname(fileURLToPath(import.meta.url));

process.chdir(path.resolve(folder, '../..'));
const git = (...args) => execFileSync('git', args, { encoding: 'utf8' }).split('\0').filter(Boolean);
const files = git('ls-files', '-z', '--cached', '--others', '--exclude-standard').filter((file) => statSync(file, { throwIfNoEntry: false })?.isFile());
const known = new Set(files);
for (const file of files) for (let at = path.dirname(file); at !== '.'; at = path.dirname(at)) known.add(at);

/** Headings' fragments, as GitHub makes them. */
function fragments(text) {
  const found = new Set();
  for (const [, heading] of text.matchAll(/^#{1,6}\s+(.+?)\s*$/gm)) {
    const base = heading
      .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .replace(/\s/g, '-');
    let fragment = base;
    for (let count = 1; found.has(fragment); count++) fragment = `${base}-${count}`;
    found.add(fragment);
  }
  return found;
}

const withoutCode = (text) => text.replace(/^( *)(```|~~~)[\s\S]*?^\1\2/gm, '').replace(/`[^`\n]*`/g, '');
const pages = new Map();
for (const file of files.filter((file) => file.endsWith('.md'))) {
  const text = readFileSync(file, 'utf8');
  pages.set(file, { text: withoutCode(text), fragments: fragments(text.replace(/^( *)(```|~~~)[\s\S]*?^\1\2/gm, '')) });
}

let failed = 0;
const report = (line) => {
  failed++;
  console.log(line);
};

for (const [file, { text }] of pages) {
  for (const [, target] of text.matchAll(/\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)/g)) {
    if (/^[a-z][a-z0-9+.-]*:/i.test(target)) continue;
    const [page, fragment] = target.split('#');
    const to = page === '' ? file : path.normalize(path.join(path.dirname(file), decodeURI(page))).replace(/\/$/, '');
    if (!known.has(to)) report(`${file}: ${target} leads to no file`);
    else if (fragment !== undefined && !pages.get(to)?.fragments.has(fragment)) report(`${file}: ${target} leads to no heading`);
  }
}

for (const file of files.filter((file) => /^(scripts|crates|components|examples)\/|^tests\/(?!node_modules)|\.toml$/.test(file) && !file.endsWith('.md'))) {
  if (/\.(json|wasm|hex)$/.test(file)) continue;
  for (const [page] of readFileSync(file, 'utf8').matchAll(/(?<![\w/.-])docs\/[\w/-]+\.md\b/g)) {
    if (!known.has(page)) report(`${file}: ${page} is no page`);
  }
}

if (failed > 0) {
  console.log(`${failed} links lead nowhere`);
  process.exit(1);
}
