// Greets whoever is named in the query string (GET /hello?name=Ada) or in a JSON body (POST /hello).
exports = function ({ query, body }) {
  const name = body === undefined ? query.name : JSON.parse(body.text()).name;
  return { greeting: `Hello, ${name || "world"}!` };
};
