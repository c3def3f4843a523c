/** The executable: all plugins under one roof; the name it is started by picks one. */

import type { Plugin } from "../lib/cni/plugin.ts";
import { EMPTY_DNS } from "../lib/cni/result.ts";
import { run, SUPPORTED_VERSIONS } from "../lib/cni/run.ts";
import * as sys from "../lib/sys/sys.ts";
import project from "../package.json" with { type: "json" };

const p: Plugin = {
  name: "bridge",
  versions: SUPPORTED_VERSIONS,
  add: (c) => c.config.prevResult() ?? { interfaces: [], ips: [], routes: [], dns: EMPTY_DNS },
  check: () => {},
  del: () => {},
  gc: () => {},
  status: (c) => {
    c.delegates.status("true");
  },
};
sys.exit(run([p], project.version));
