"use strict";

SwaggerUIBundle({
  url: "/api/schema/?format=json",
  dom_id: "#swagger",
  layout: "BaseLayout",
  deepLinking: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0, // the schemas stand with the operations; the list of all is long
  validatorUrl: null, // the default sends the schema's address to a site of Swagger's
  // Tokens are kept until the page is left and no longer: an API key in the browser's storage would
  // stay behind on a hospital's shared computer.
  persistAuthorization: false,
});
