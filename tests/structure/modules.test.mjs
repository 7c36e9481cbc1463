// The check of structure, on crates of a few lines.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { masked } from './rust.mjs';

const folder = path.dirname(fileURLToPath(import.meta.url));

/** What the check says of a crate of these files. */
function check(files) {
  const root = mkdtempSync(path.join(tmpdir(), 'structure-'));
  try {
    for (const [name, text] of Object.entries(files)) {
      const file = path.join(root, 'crates/sample/src', name);
      mkdirSync(path.dirname(file), { recursive: true });
      writeFileSync(file, text);
    }
    const { status, stdout } = spawnSync(process.execPath, [path.join(folder, 'modules.mjs'), root], { encoding: 'utf8' });
    return { status, stdout };
  } finally {
    rmSync(root, { recursive: true });
  }
}

const lib = 'mod a;\nmod b;\npub use b::B;\n';

test('imports one way pass', () => {
  assert.deepEqual(check({ 'lib.rs': lib, 'a.rs': 'use crate::b::B;\n', 'b.rs': 'pub struct B;\n' }), { status: 0, stdout: '' });
});

test('a circle is found through use declarations, paths, nested trees and re-exports', () => {
  for (const [a, b] of [
    ['use crate::b::B;', 'use crate::a::A;'],
    ['use crate::B;', 'use super::a::A;'],
    ['fn f() { crate::b::B; }', 'use crate::{a::{A as Other}};'],
    ['use super::{b::B};', 'fn f() -> crate::a::A { todo!() }'],
  ]) {
    const { status, stdout } = check({ 'lib.rs': lib, 'a.rs': `${a}\npub struct A;\n`, 'b.rs': `${b}\npub struct B;\n` });
    assert.equal(status, 1, `${a} ${b}`);
    assert.match(stdout, /2 modules import each other in a circle/);
    assert.match(stdout, /crate::a -> crate::b/);
  }
});

test('tests, comments and literals import nothing', () => {
  const a = [
    '// use crate::b::B;',
    '/* use crate::b::B; /* nested */ crate::b::B */',
    'pub struct A;',
    'const TEXT: &str = "crate::b::B";',
    'const RAW: &str = r#"use crate::b::B; " "#;',
    "const QUOTE: char = '\"';",
    '#[cfg(test)]\nmod tests {\n  use crate::b::B;\n}',
  ].join('\n');
  assert.deepEqual(check({ 'lib.rs': lib, 'a.rs': a, 'b.rs': 'use crate::a::A;\npub struct B;\n' }), { status: 0, stdout: '' });
});

test('a module and its own submodules may import each other, and no third one', () => {
  const a = 'mod part;\nuse part::Part;\npub struct A;\n';
  const files = { 'lib.rs': lib, 'a/mod.rs': a, 'a/part.rs': 'use super::A;\npub struct Part;\n', 'b.rs': 'pub struct B;\n' };
  assert.equal(check(files).status, 0);
  files['a/part.rs'] = 'use super::A;\nuse crate::b::B;\npub struct Part;\n';
  files['b.rs'] = 'use crate::a::A;\npub struct B;\n';
  assert.match(check(files).stdout, /3 modules import each other in a circle/);
});

test('code above 500 lines is found, and tests, comments and blank lines do not count', () => {
  const code = 'const X: u8 = 0;\n';
  const aside = '// comment\n\n'.repeat(300) + `#[cfg(test)]\nmod tests {\n${code.repeat(600)}}\n`;
  assert.equal(check({ 'lib.rs': code.repeat(500) + aside }).status, 0);
  assert.match(check({ 'lib.rs': code.repeat(501) + aside }).stdout, /501 lines of code/);
});

test('masking keeps lines and lifetimes', () => {
  assert.equal(masked("fn f<'a>(x: &'a str) { '\\''; }\n// x\ny"), "fn f<'a>(x: &'a str) {     ; }\n    \ny");
});
