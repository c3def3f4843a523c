/** Where `make comparison` puts what it builds. */
import { join } from "node:path";
import { repository } from "../../testbed/call.ts";

const machine = process.arch === "arm64" ? "arm64" : "amd64";

export const comparisonDirectory = join(repository, "build", machine, "comparison");
