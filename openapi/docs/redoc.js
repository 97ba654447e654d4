"use strict";

Redoc.init("/api/schema/?format=json", {
  expandResponses: "200,201",
  requiredPropsFirst: false, // properties stand in the order that the contract gives them
  sortPropsAlphabetically: false,
  hideHostname: true,
  nativeScrollbars: true,
  theme: {
    spacing: { sectionHorizontal: matchMedia("(max-width: 50rem)").matches ? 16 : 40 }, // phones have no room to spare
    colors: { primary: { main: "#0b6e75" } },
    typography: {
      fontFamily: "system-ui, sans-serif",
      headings: { fontFamily: "system-ui, sans-serif" },
      code: { fontFamily: "ui-monospace, monospace" },
    },
  },
}, document.getElementById("redoc"));
