exports = async function (user) {
  const authors = context.services.get("mongodb-atlas").db("Notes").collection("Author");
  await authors.insertOne({ userId: user.id, role: "editor" });
};
