/** vxlan-overlay behind bridge under faults, while its peers change and on a node without anything of it. */
import { overlay } from "./subjects.ts";
import { describeFaults } from "./suite.ts";

for (const cold of [false, true]) describeFaults(overlay({ datapath: "gpe", delegate: false, cold }));
