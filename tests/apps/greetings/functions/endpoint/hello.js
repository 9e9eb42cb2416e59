exports = async function ({ body }) {
  const { name } = JSON.parse(body.text());
  return { date: new Date(), greeting: await context.functions.execute("greetingOf", name) };
};
