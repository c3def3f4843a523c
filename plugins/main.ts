/** The executable: all plugins under one roof; the name it is started by picks one. */
import { hostLocal } from "../ipam/host-local/main.ts";
import { staticIpam } from "../ipam/static/main.ts";
import { run } from "../lib/cni/run.ts";
import { isInstaller, runInstaller } from "../lib/install/main.ts";
import * as sys from "../lib/sys/sys.ts";
import project from "../package.json" with { type: "json" };
import { bandwidth } from "./bandwidth/main.ts";
import { bridge } from "./bridge/main.ts";
import { firewall } from "./firewall/main.ts";
import { loopback } from "./loopback/main.ts";
import { portmap } from "./portmap/main.ts";
import { ptp } from "./ptp/main.ts";
import { tuning } from "./tuning/main.ts";
import { vxlanOverlay } from "./vxlan-overlay/main.ts";

const plugins = [bandwidth, bridge, firewall, hostLocal, loopback, portmap, ptp, staticIpam, tuning, vxlanOverlay];
sys.exit(isInstaller() ? runInstaller(plugins, project.version) : run(plugins, project.version));
