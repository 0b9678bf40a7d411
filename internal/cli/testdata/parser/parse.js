// Parses each script by the grammar of its warehouse, and says what it takes
// it for: node parse.js DIALECT=FILE… "raw" and "command" are statements that the
// grammar lets through unread (CREATE STAGE, SET).
import fs from "node:fs";
import { init, parse } from "@polyglot-sql/sdk";

await init();
let failed = false;
for (const arg of process.argv.slice(2)) {
  const [dialect, file] = arg.split("=");
  const { success, ast, error } = parse(fs.readFileSync(file, "utf8"), dialect);
  const kinds = success ? ast.map((s) => Object.keys(s)[0]) : [];
  console.log(dialect, success ? kinds.join(" ") : error);
  failed ||= !success;
}
process.exit(failed ? 1 : 0);
