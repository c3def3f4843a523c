/** podwire-agent: the executable. */
import { CniError } from "../lib/errors.ts";
import { print, warn } from "../lib/host/io.ts";
import { reportCrashes } from "../lib/sys/loop.ts";
import { exit } from "../lib/sys/sys.ts";
import { tlsVersion } from "../lib/sys/tls.ts";
import project from "../package.json" with { type: "json" };
import { readCommand, USAGE } from "./options.ts";

/** Does what the command line says; returns the exit status. */
function main(list: readonly string[]): number {
  try {
    const command = readCommand(list);
    print(command === "help" ? USAGE : `podwire-agent ${project.version}\nmbedTLS ${tlsVersion()}\n`);
    return 0;
  } catch (error) {
    if (error instanceof CniError) warn(`podwire-agent: ${error.message}\n  ${error.details}\n`);
    else warn(`podwire-agent: ${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  }
}

reportCrashes();
exit(main(process.argv.slice(2)));
