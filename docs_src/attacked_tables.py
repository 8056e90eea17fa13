"""The example of the page on attacks with a table: wines whose colour cannot be changed, and whole milligrams.

Run: python docs_src/attacked_tables.py
"""

import pyarrow as pa
from sklearn.datasets import load_wine

import rosenblatt as rb
from rosenblatt.attacks import APGD, Table
from rosenblatt.data.recipe import learn_recipe
from rosenblatt.data.tables import read_table

HELD = ["color_intensity", "hue", "flavanoids", "od280/od315_of_diluted_wines"]
WHOLE = ["magnesium", "proline"]


def attack(eps=0.5):
    """Rules and features of the wines, an attack on all columns, and one on those that a cellar could change."""
    data = load_wine(as_frame=True)
    names = data.target_names[data.target]
    recipe = learn_recipe(read_table(data.data), pa.chunked_array([names]), target_name="grower")
    X = recipe.transform(data.data)  # as `rosenblatt train mlp wines.csv --target grower` does
    model = rb.MLPClassifier((20,), alpha=0.01, max_iter=150, random_state=0).fit(X, names)
    model.preprocessing_ = recipe
    free = APGD(eps=eps)(Table(model), X, names)
    held = APGD(eps=eps)(Table(model, fixed=HELD, integer=WHOLE, bounds={"alcohol": (11, 15)}), X, names)
    return recipe, X, free, held


if __name__ == "__main__":
    _, _, free, held = attack()
    print(f"all columns: {free}\nfour of them held: {held}")
